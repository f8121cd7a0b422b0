"""Feeds one target, and keeps count."""

from __future__ import annotations

import resource
import time
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, Phase, given, seed, settings
from prometheus_client import REGISTRY

from anygpt.errors import AnyGPTError
from tests.fuzz.inputs import damaged
from tests.fuzz.targets import Target


@dataclass(slots=True)
class Tally:
    """What came of a target's inputs."""

    target: str
    inputs: int = 0
    read: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    """Children of the sandbox that died or were killed; the service lived."""
    seconds: float = 0.0
    peak_mib: int = 0
    """Most memory of this process and of any child up to now."""


def fuzz(target: Target, count: int, start: int = 0) -> Tally:
    """Feed `count` inputs, the same for the same `start`. Raises what is no error of ours, with the input."""
    tally = Tally(target.name)
    deaths, began = _deaths(), time.perf_counter()

    @seed(start)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(data=damaged(target.seeds))
    def feed(data: bytes) -> None:
        tally.inputs += 1
        try:
            target.feed(data)
            tally.read += 1
        except AnyGPTError as error:
            tally.reasons[error.reason] += 1

    feed()
    tally.seconds = time.perf_counter() - began
    tally.deaths = _deaths() - deaths
    usages = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    tally.peak_mib = max(usages) // 1024
    return tally


def _deaths() -> int:
    counts = (
        REGISTRY.get_sample_value("anygpt_media_seconds_count", {"outcome": outcome})
        for outcome in ("died", "overstayed")
    )
    return int(sum(count or 0 for count in counts))
