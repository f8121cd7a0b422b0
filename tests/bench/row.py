"""One row of a benchmark's table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A figure with its spread and its goal."""

    what: str
    values: Sequence[float]
    unit: str = "ms"
    goal: str = ""

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest value."""
        return max(self.values)

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:.2f} {self.unit}"

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON."""
        return {"what": self.what, "median": self.median, "min": self.low, "max": self.high, "unit": self.unit,
                "goal": self.goal, "count": len(self.values)}  # fmt: skip
