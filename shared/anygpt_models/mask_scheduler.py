"""How masked codes are uncovered: the share that stays masked after each step (MaskGIT, arXiv:2202.04200, figure 8)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin

SCHEDULES: Final[Mapping[str, Callable[[float], float]]] = {
    "cosine": lambda done: math.cos(math.pi / 2 * done),
    "linear": lambda done: 1 - done,
    "square": lambda done: 1 - done**2,
    "root": lambda done: 1 - math.sqrt(done),
}
"""Cosine and square begin with few codes and uncover most at the end, root does the reverse."""


class MaskScheduler(SchedulerMixin, ConfigMixin):  # type: ignore[misc]  # both name their file
    """A scheduler for codes, which are masked or not; there is no noise level to follow."""

    order = 1

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, schedule: str = "cosine") -> None:
        if schedule not in SCHEDULES:
            raise ValueError(f"there are the schedules {', '.join(SCHEDULES)}, not {schedule!r}")

    def masked(self, length: int, step: int, steps: int) -> int:
        """How many of `length` codes stay masked after a step, counted from 0; none after the last."""
        share = SCHEDULES[self.config["schedule"]]((step + 1) / steps)
        return math.floor(length * share + 1e-6)
