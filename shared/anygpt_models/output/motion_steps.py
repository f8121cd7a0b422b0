"""Frame interpolation: frames between frames, along the motion that block matching finds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygpt.v1 import types_pb2
from anygpt_models.output.filters import Plane, box, luma
from anygpt_models.output.media import Clip, Media

Pixels = NDArray[np.uint8]
Motion = tuple[Plane, Plane]
"""Rows and columns [H, W] that each pixel moves."""
COARSE, FINE = 32, 128
"""Short sides of the frames in which motion is searched, then refined; smaller frames stay as they are."""
REACH, REFINED = 4, 4
"""Largest displacement, in pixels of the coarse frame, and its refinement, in pixels of the fine one."""
STILLNESS = 0.4
"""Levels that a longer displacement must gain for each pixel: plain surfaces stay where they are."""


@dataclass(frozen=True, slots=True)
class Interpolate:
    """To another frame rate, frames a second; the duration stays."""

    frame_rate: float

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        assert isinstance(media, Clip)
        count = max(1, round(len(media.frames) * self.frame_rate / media.frame_rate))
        times = np.arange(count) * media.frame_rate / self.frame_rate
        # Fewer frames than before need no new ones: the nearest are kept.
        times = np.rint(times) if self.frame_rate < media.frame_rate else times
        paths = _Paths(media.frames)
        frames = np.stack([paths.frame_at(float(time)) for time in times])
        report = types_pb2.StepReport(
            step="interpolate", metric="frames a second", before=media.frame_rate, after=self.frame_rate
        )
        return Clip(frames, self.frame_rate), report


class _Paths:
    """The frames of a clip, and the motion between neighbours, found once for each pair."""

    def __init__(self, frames: Pixels) -> None:
        self._frames = frames
        self._known: dict[int, Motion] = {}

    def frame_at(self, time: float) -> Pixels:
        """The frame at a time, counted in frames from 0."""
        last = len(self._frames) - 1
        place = min(int(time), last)
        share = time - place
        if share < 1e-6 or place == last:
            return np.asarray(self._frames[place])
        first, second = self._frames[place : place + 2]
        if place not in self._known:
            self._known[place] = motion(first, second)
        return between(first, second, self._known[place], share)


def between(first: Pixels, second: Pixels, path: Motion, share: float) -> Pixels:
    """The frame [H, W, 3] at a share of the way from one to the next, blended along the motion."""
    rows, columns = path
    row, column = np.mgrid[: first.shape[0], : first.shape[1]]
    before = _pick(first, row - share * rows, column - share * columns)
    after = _pick(second, row + (1.0 - share) * rows, column + (1.0 - share) * columns)
    return np.rint((1.0 - share) * before + share * after).astype(np.uint8)


def motion(first: Pixels, second: Pixels) -> Motion:
    """How far each pixel of the frame halfway moves from `first` to `second`.

    Bilateral matching: displacements are compared where the new frame lies, so that it has no holes.
    """
    height, width = first.shape[:2]
    path = (np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32))
    known = 1.0
    for side, reach in ((COARSE, REACH), (FINE, REFINED)):
        scale = max(1.0, min(height, width) / side)
        size = (max(1, round(width / scale)), max(1, round(height / scale)))
        start, end = (_shrunk(frame, size) for frame in (first, second))
        path = _searched(start, end, _grown(path, size, known / scale), reach)
        known = scale
    return _grown(path, (width, height), known)


def _searched(start: Plane, end: Plane, around: Motion, reach: int) -> Motion:
    """The displacements near `around` that make the two planes most alike."""
    guess_rows, guess_columns = (np.rint(part).astype(int) for part in around)
    row, column = np.mgrid[: start.shape[0], : start.shape[1]]
    best = np.full(start.shape, np.inf, np.float32)
    rows, columns = np.zeros_like(start), np.zeros_like(start)
    for down, right in product(range(-reach, reach + 1), repeat=2):
        whole_down, whole_right = guess_rows + down, guess_columns + right
        back_down, back_right = whole_down // 2, whole_right // 2
        before = _at(start, row - back_down, column - back_right)
        after = _at(end, row - back_down + whole_down, column - back_right + whole_right)
        cost = box(np.abs(before - after), 2) + STILLNESS * np.hypot(whole_down, whole_right).astype(
            np.float32
        )
        better = cost < best
        best = np.where(better, cost, best)
        rows, columns = np.where(better, whole_down, rows), np.where(better, whole_right, columns)
    return rows.astype(np.float32), columns.astype(np.float32)


def _at(plane: Plane, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Plane:
    height, width = plane.shape
    return plane[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]


def _pick(frame: Pixels, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels [H, W, 3] at fractional places, bilinear, the border repeated."""
    height, width = frame.shape[:2]
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, over = (rows - top)[..., None], (columns - left)[..., None]
    upper = frame[top, left] * (1 - over) + frame[top, right] * over
    lower = frame[bottom, left] * (1 - over) + frame[bottom, right] * over
    picked: NDArray[np.float64] = upper * (1 - down) + lower * down
    return picked


def _shrunk(frame: Pixels, size: tuple[int, int]) -> Plane:
    return luma(np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)))


def _grown(path: Motion, size: tuple[int, int], scale: float) -> Motion:
    rows, columns = (
        np.asarray(Image.fromarray(part).resize(size, Image.Resampling.BILINEAR), dtype=np.float32) * scale
        for part in path
    )
    return rows, columns
