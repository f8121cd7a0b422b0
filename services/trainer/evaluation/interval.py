"""A figure with its 95 % interval: Wilson's for shares and where all or nothing is right, else the bootstrap's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Z = 1.959964
RESAMPLES = 2000
Observation = tuple[float, float]
"""Numerator and denominator: (right, 1), (word errors, words), (decibels, 1)."""


@dataclass(frozen=True)
class Figure:
    """A ratio of sums over `count` observations, and where the true one lies with 95 % confidence."""

    value: float
    low: float
    high: float
    count: int


def figure(observed: Sequence[Observation]) -> Figure:
    """The figure of some observations; not a number without any."""
    if not observed:
        return Figure(math.nan, math.nan, math.nan, 0)
    value = sum(above for above, _ in observed) / max(1e-9, sum(below for _, below in observed))
    low, high = wilson(value, len(observed)) if _is_share(observed) else bootstrap(observed)
    return Figure(value, low, high, len(observed))


def _is_share(observed: Sequence[Observation]) -> bool:
    """Whether each is right or wrong, or all are wholly right or wholly wrong: resamples of these do not differ."""
    is_each = all(below == 1 and above in (0, 1) for above, below in observed)
    return (
        is_each
        or all(above == 0 for above, _ in observed)
        or all(above == below for above, below in observed)
    )


def wilson(share: float, count: int) -> tuple[float, float]:
    """Score interval of a share (Wilson 1927)."""
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    reach = Z / (1 + Z**2 / count) * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return max(0.0, middle - reach), min(1.0, middle + reach)


def bootstrap(observed: Sequence[Observation]) -> tuple[float, float]:
    """Percentiles of the ratio over resamples of whole observations; seeded."""
    pairs = np.asarray(observed, dtype=np.float64)
    rows = np.random.default_rng(0).integers(len(pairs), size=(RESAMPLES, len(pairs)))
    sums = pairs[rows].sum(axis=1)
    low, high = np.quantile(sums[:, 0] / np.maximum(sums[:, 1], 1e-9), (0.025, 0.975))
    return float(low), float(high)


def best_guess(truths: Sequence[str]) -> float:
    """The share that is right when all is answered with what is true most often; 0 without any."""
    return max(Counter(truths).values(), default=0) / max(1, len(truths))


def beats_chance(found: Figure, chance: float) -> bool:
    """At least twice chance, and above it by five standard errors."""
    error = math.sqrt(chance * (1 - chance) / max(1, found.count))
    return found.value >= 2 * chance and found.value >= chance + 5 * error
