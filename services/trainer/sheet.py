"""What a run can do so far: a line for its log, and a picture in its folder."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from anygpt_models.image_pipeline import to_uint8
from services.trainer.data.spread import spread

SAMPLES = "samples.png"
"""In a run's folder."""
LOUDNESS = 9.0
"""Nepers below the loudest that a spectrogram shows."""
FONT, LINE, MARGIN = 10, 13, 4
"""Size and height of a line of words, and the space below it, in pixels."""
WIDE, WORDS_WIDE = 136, 280
"""Pixels that words have at least: below a picture, and alone."""


@dataclass(frozen=True)
class Cell:
    """One sample: pixels [3, H, W] in -1..1, a spectrogram [bands, T] in nepers, or words alone."""

    shown: Tensor | None
    words: str = ""


@dataclass(frozen=True)
class Sheet:
    """Samples of a run, and what they come to."""

    told: str
    cells: Sequence[Cell]
    columns: int = 8

    def save(self, path: Path) -> None:
        """Write the cells as one PNG, row by row, each over its words; nothing where there are none."""
        if not self.cells:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures = [_picture(cell.shown) for cell in self.cells]
        wide = max(max(picture.width, WIDE) if picture else WORDS_WIDE for picture in pictures)
        tiles = [_tile(picture, cell.words, wide) for picture, cell in zip(pictures, self.cells, strict=True)]
        rows = [tiles[first : first + self.columns] for first in range(0, len(tiles), self.columns)]
        heights = [max(tile.height for tile in row) for row in rows]
        sheet = Image.new("RGB", (wide * min(self.columns, len(tiles)), sum(heights)), "white")
        for place, row in enumerate(rows):
            for column, tile in enumerate(row):
                sheet.paste(tile, (column * wide, sum(heights[:place])))
        sheet.save(path)


Sample = Callable[[], Sheet]
"""Looks at a model in training."""


def above(first: Tensor, second: Tensor) -> Tensor:
    """Two pictures [3, H, W] as one, the first above: what was wanted, and what was found."""
    return _joined((first, second), -2)


def before(first: Tensor, second: Tensor) -> Tensor:
    """Two spectrograms [bands, T] as one, the first on the left: what was wanted, and what was found."""
    return _joined((first, second), -1)


def strip(frames: Tensor, count: int = 6) -> Tensor:
    """Some frames of a clip [T, 3, H, W], side by side."""
    return _joined(spread(frames, count), -1)


def _joined(parts: Sequence[Tensor] | Tensor, axis: int) -> Tensor:
    return torch.cat([part.detach().float() for part in parts], axis)


def _picture(shown: Tensor | None) -> Image.Image | None:
    if shown is None:
        return None
    if shown.dim() == 3:
        return Image.fromarray(to_uint8(shown.detach()))
    return Image.fromarray(_coloured(shown.detach().float().cpu().numpy()))


def _coloured(bands: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A spectrogram, the lowest band at the bottom."""
    from matplotlib import colormaps  # only a trainer that draws needs matplotlib

    loud = 1 + (bands[::-1] - bands.max()) / LOUDNESS
    return np.asarray(colormaps["magma"](loud.clip(0, 1), bytes=True))[..., :3].copy()


def _tile(picture: Image.Image | None, words: str, wide: int) -> Image.Image:
    font = _font()
    letters = max(1, int((wide - MARGIN) / font.getlength("n")))
    lines = [line for part in words.splitlines() for line in textwrap.wrap(part, letters)]
    high = picture.height if picture else 0
    tile = Image.new("RGB", (wide, high + LINE * len(lines) + MARGIN), "white")
    if picture:
        tile.paste(picture, (0, 0))
    draw = ImageDraw.Draw(tile)
    for place, line in enumerate(lines):
        draw.text((2, high + LINE * place), line, "black", font)
    return tile


def _font() -> ImageFont.FreeTypeFont:
    """One that has phonetic letters; matplotlib brings it."""
    from matplotlib import get_data_path

    return ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), FONT)
