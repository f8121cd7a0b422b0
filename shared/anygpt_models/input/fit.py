"""Bringing a picture of any size to the square that an encoder takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Rule = Literal["crop", "stretch", "pad"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class Fit:
    """How a picture becomes a square: `crop` the centre, `stretch` both sides, or `pad` with white."""

    size: int
    rule: Rule = "crop"

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels [H, W, 3] -> [size, size, 3], bicubic."""
        image = Image.fromarray(picture)
        if self.rule == "stretch":
            return np.array(image.resize((self.size, self.size), Image.Resampling.BICUBIC))
        if self.rule == "pad":
            return self._padded(image)
        short = self.short_side(picture)
        return centre_crop(short, self.size)

    def short_side(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels [H, W, 3] with a short side of `size`; of a very long picture only the middle."""
        image = _middle(Image.fromarray(picture))
        scale = self.size / min(image.size)
        width, height = (max(self.size, round(side * scale)) for side in image.size)
        return np.array(image.resize((width, height), Image.Resampling.BICUBIC))

    def _padded(self, image: Image.Image) -> NDArray[np.uint8]:
        scale = self.size / max(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        whole = Image.new("RGB", (self.size, self.size), (255, 255, 255))
        scaled = image.resize((width, height), Image.Resampling.BICUBIC)
        whole.paste(scaled, ((self.size - width) // 2, (self.size - height) // 2))
        return np.array(whole)


def centre_crop(picture: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The middle [size, size, 3] of a picture that is at least as large."""
    top, left = ((side - size) // 2 for side in picture.shape[:2])
    return picture[top : top + size, left : left + size]


def three_crops(picture: NDArray[np.uint8], size: int) -> list[NDArray[np.uint8]]:
    """Three squares along the long side of a picture whose short side is `size`: first, middle, last."""
    height, width = picture.shape[:2]
    if width >= height:
        return [picture[:size, left : left + size] for left in (0, (width - size) // 2, width - size)]
    return [picture[top : top + size, :size] for top in (0, (height - size) // 2, height - size)]


def normalised(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Pixels [..., H, W, 3] -> [..., 3, H, W] by CLIP's mean and deviation."""
    mean, deviation = (np.array(values, dtype=np.float32) for values in (CLIP_MEAN, CLIP_STD))
    scaled = (pictures.astype(np.float32) / 255.0 - mean) / deviation
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))


def _middle(image: Image.Image, ratio: int = 8) -> Image.Image:
    width, height = image.size
    reach = ratio * min(image.size)
    if max(image.size) <= reach:
        return image
    left, top = max(0, (width - reach) // 2), max(0, (height - reach) // 2)
    return image.crop((left, top, left + min(width, reach), top + min(height, reach)))
