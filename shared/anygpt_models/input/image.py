"""A still picture from any image file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from anygpt_models.input.picture import opened_picture, pixels, srgb
from anygpt_models.input.source import Source


def open_image(source: Source) -> NDArray[np.uint8]:
    """Pixels [height, width, 3], upright, 8-bit sRGB, alpha over white; of an animation the first frame.

    Raises MEDIA_EMPTY, MEDIA_TOO_LARGE, MEDIA_TRUNCATED, MEDIA_UNREADABLE.
    """
    with opened_picture(source) as image:
        image.load()
        return pixels(srgb(image))
