"""What some files say, read again when one of them changes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from anygpt.errors import AnyGPTError

T = TypeVar("T")
Stamp = tuple[int, int, int]
log = logging.getLogger(__name__)


class Reloaded(Generic[T]):
    """A value made of files. A change that cannot be read leaves the value that was, and is tried again."""

    def __init__(self, paths: Sequence[Path], load: Callable[[], T]) -> None:
        self._paths = tuple(paths)
        self._load = load
        self._stamps = self._look()
        self._value = load()

    def get(self) -> T:
        """The value of the files as they are now. Safe from any thread."""
        stamps = self._stamps
        try:
            stamps = self._look()
            if stamps != self._stamps:
                self._value = self._load()
                self._stamps = stamps
        except (OSError, ValueError, AnyGPTError) as error:
            log.error("%s cannot be read again: %s", self._paths[0].name, type(error).__name__)
        return self._value

    def _look(self) -> tuple[Stamp, ...]:
        found = (path.stat() for path in self._paths)
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)
