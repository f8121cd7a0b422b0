"""Some of many, evenly from all over."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import Tensor

Rows = TypeVar("Rows", list[Any], Tensor)


def spread(rows: Rows, count: int) -> Rows:
    """At most `count` of some rows, as far apart as they can be; all where there are fewer."""
    return rows[:: max(1, len(rows) // max(1, count))][:count]
