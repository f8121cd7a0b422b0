"""Steps on what is seen, pictures and clips alike: denoise, resize, sharpen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anygpt.v1 import types_pb2
from anygpt_models.output.filters import Plane, guided, luma, noise, sharpened, sharpness
from anygpt_models.output.media import Clip, Media, Picture

Pixels = NDArray[np.uint8]
SMALLEST, LARGEST = 16, 4096


@dataclass(frozen=True, slots=True)
class Denoise:
    """Edge-preserving smoothing of each channel; strength above 0, at most 1."""

    strength: float

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        epsilon = (24.0 * self.strength) ** 2

        def clean(pixels: Pixels) -> Pixels:
            planes = [guided(pixels[..., channel].astype(np.float32), 2, epsilon) for channel in range(3)]
            return to_pixels(np.rint(np.stack(planes, axis=-1)))

        done = each_frame(media, clean)
        return done, measured("denoise", "noise deviation, levels of 255", noise, media, done)


@dataclass(frozen=True, slots=True)
class Resize:
    """Lanczos to a width and a height in pixels; with one of them 0 the aspect ratio is kept."""

    width: int
    height: int

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        height, width = first_frame(media).shape[:2]
        size = self.size(width, height)
        done = each_frame(media, lambda pixels: _resized(pixels, size))
        after = size[0] * size[1]
        return done, types_pb2.StepReport(step="resize", metric="pixels", before=width * height, after=after)

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that media of this size get."""
        asked = (self.width or self.height * width / height, self.height or self.width * height / width)
        wide, high = (min(LARGEST, max(SMALLEST, round(side))) for side in asked)
        return wide, high


@dataclass(frozen=True, slots=True)
class Sharpen:
    """Unsharp mask of the brightness, without halos; strength above 0, at most 1."""

    strength: float

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""

        def sharp(pixels: Pixels) -> Pixels:
            bright = luma(pixels)
            change = np.rint(sharpened(bright, self.strength) - bright).astype(np.int16)
            return to_pixels(pixels + change[..., None])

        done = each_frame(media, sharp)
        return done, measured("sharpen", "variance of the Laplacian", sharpness, media, done)


@dataclass(frozen=True, slots=True)
class Pad:
    """To even sides, which H.264's chroma at half resolution needs; the last row or column is repeated."""

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        height, width = first_frame(media).shape[:2]
        border = ((0, height % 2), (0, width % 2), (0, 0))
        done = each_frame(media, lambda pixels: np.pad(pixels, border, mode="edge"))
        after = (height + height % 2) * (width + width % 2)
        return done, types_pb2.StepReport(step="pad", metric="pixels", before=width * height, after=after)


def each_frame(media: Media, change: Callable[[Pixels], Pixels]) -> Media:
    """The media with every frame [H, W, 3] changed alike."""
    if isinstance(media, Picture):
        return Picture(change(media.pixels))
    assert isinstance(media, Clip)
    return Clip(np.stack([change(frame) for frame in media.frames]), media.frame_rate)


def to_pixels(values: NDArray[np.float32] | NDArray[np.int16]) -> Pixels:
    """Whole values of any size as pixels, cut to 0..255."""
    return np.asarray(np.clip(values, 0, 255), dtype=np.uint8)


def first_frame(media: Media) -> Pixels:
    """The picture, or a clip's first one."""
    if isinstance(media, Picture):
        return media.pixels
    assert isinstance(media, Clip)
    frame: Pixels = media.frames[0]
    return frame


def measured(
    step: str, metric: str, measure: Callable[[Plane], float], before: Media, after: Media
) -> types_pb2.StepReport:
    """A report on the brightness of the first frame."""
    values = [measure(luma(first_frame(media))) for media in (before, after)]
    return types_pb2.StepReport(step=step, metric=metric, before=values[0], after=values[1])


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
