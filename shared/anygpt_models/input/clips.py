"""Which stretches of a long recording an encoder hears or sees."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clips:
    """Windows of `window_s` seconds, at most `count`: spread from start to end of what is longer."""

    window_s: float
    count: int = 1
    always: bool = False
    """Whether short media have `count` (overlapping) windows as well, as the published recipes have."""

    def starts(self, duration_s: float) -> list[float]:
        """Where the windows begin, in seconds, in order; the same for the same duration."""
        slack = max(0.0, duration_s - self.window_s)
        count = self.count if self.always else min(self.count, math.ceil(duration_s / self.window_s))
        if count <= 1:
            return [slack / 2]
        return [slack * place / (count - 1) for place in range(count)]
