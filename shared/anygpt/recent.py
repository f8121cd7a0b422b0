"""A bounded memory of what has ended, so that what comes late or twice is known for what it is."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 4096


class Recent(OrderedDict[K, V]):
    """A dictionary of the names that were set last; the oldest one makes room for a new one."""

    def __setitem__(self, name: K, value: V) -> None:
        """Remember a name."""
        super().__setitem__(name, value)
        if len(self) > REMEMBERED:
            self.popitem(last=False)
