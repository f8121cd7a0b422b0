"""Filters of pictures in plain numpy, and what they change: sharpness and noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""One channel [H, W] in 0..255."""

STRIP = 256
"""Rows that are sharpened at once."""
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def luma(pixels: NDArray[np.uint8]) -> Plane:
    """Brightness [..., H, W] of pixels [..., H, W, 3] (Rec. 601)."""
    brightness: Plane = pixels.astype(np.float32) @ LUMA
    return brightness


def box(plane: Plane, radius: int) -> Plane:
    """Mean over a square of 2 radius + 1, the border repeated."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(plane, pad, mode="edge"), axis=axis, dtype=np.float64)
        size = 2 * radius + 1
        upper, lower = np.split(total, [size], axis=axis)[1], np.split(total, [-size], axis=axis)[0]
        plane = ((upper - lower) / size).astype(np.float32)
    return plane


def guided(plane: Plane, radius: int, epsilon: float) -> Plane:
    """Smooth what varies less than the square root of `epsilon`, keep edges (He, Sun, Tang 2013)."""
    mean = box(plane, radius)
    power: Plane = plane * plane
    variance: Plane = np.maximum(box(power, radius) - mean * mean, np.float32(0.0))
    slope: Plane = variance / (variance + np.float32(epsilon))
    level: Plane = (1.0 - slope) * mean
    result: Plane = box(slope, radius) * plane + box(level, radius)
    return result


def sharpened(plane: Plane, strength: float) -> Plane:
    """Unsharp mask that stays between the darkest and the brightest neighbour, so that edges get no halo.

    Strip by strip: a large picture needs no more memory than a small one.
    """
    radius = max(1, min(plane.shape) // 128)
    done = np.empty_like(plane)
    for start in range(0, len(plane), STRIP):
        first = max(0, start - 2 * radius)
        rows = plane[first : start + STRIP + 2 * radius]
        low, high = neighbourhood(rows, radius)
        sharp = np.clip(rows + np.float32(3.0 * strength) * (rows - box(rows, radius)), low, high)
        done[start : start + STRIP] = sharp[start - first : start - first + STRIP]
    return done


def neighbourhood(plane: Plane, radius: int) -> tuple[Plane, Plane]:
    """Least and greatest value in a square of 2 radius + 1 around each pixel, the border repeated."""
    low, high = (np.pad(plane, radius, mode="edge") for _ in range(2))
    for _ in range(2):
        low, high = _slid(low, radius, np.minimum).T, _slid(high, radius, np.maximum).T
    return low, high


def _slid(plane: Plane, radius: int, extreme: Callable[[Plane, Plane], Plane]) -> Plane:
    """The extreme of each 2 radius + 1 rows, by doubling the reach; 2 radius rows fewer than before."""
    reach, size = 1, 2 * radius + 1
    rows = len(plane) - size + 1
    while 2 * reach <= size:
        plane = extreme(plane[:-reach], plane[reach:])
        reach *= 2
    return extreme(plane[:rows], plane[size - reach : size - reach + rows])


def sharpness(plane: Plane) -> float:
    """Variance of the Laplacian: the usual measure of focus."""
    return float(_laplacian(plane).var())


def noise(plane: Plane) -> float:
    """Deviation of the noise, in levels of 0..255 (Immerkaer 1996, Fast noise variance estimation)."""
    if min(plane.shape) < 3:
        return 0.0
    rows = plane[:-2] - 2.0 * plane[1:-1] + plane[2:]
    mask = rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.sqrt(np.pi / 2.0) * np.abs(mask).mean() / 6.0)


def _laplacian(plane: Plane) -> Plane:
    padded = np.pad(plane, 1, mode="edge")
    result: Plane = (
        padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4.0 * padded[1:-1, 1:-1]
    )
    return result
