"""Where the things of a scene stand, how large they are and in which colour they are dyed: one vector for each thing.

The vectors are sums of rows of a Hadamard matrix, so that each fact is read from a sum exactly, and no weights are
needed: encoders write them beside the features of a thing, output projections aim at them, and decoders read them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WIDTH = 256
MOST_THINGS = 3
PLACES: dict[str, tuple[int, int]] = {
    "at the top left": (-1, -1), "at the top": (0, -1), "at the top right": (1, -1),
    "at the left": (-1, 0), "in the middle": (0, 0), "at the right": (1, 0),
    "at the bottom left": (-1, 1), "at the bottom": (0, 1), "at the bottom right": (1, 1),
}  # fmt: skip
"""Words -> column and row of the grid of nine, the middle being 0, 0."""
SIZES: dict[str, float] = {"small": 0.5, "": 0.72, "large": 0.95}
"""Words -> side of a thing as a share of its cell."""
TINTS: dict[str, tuple[int, int, int]] = {
    "red": (220, 50, 47), "orange": (245, 140, 30), "yellow": (250, 220, 70), "green": (70, 170, 80),
    "blue": (60, 110, 220), "purple": (140, 80, 190), "pink": (250, 160, 195), "grey": (128, 128, 128),
}  # fmt: skip
"""Words -> the colour (sRGB, 0..255) that a thing is dyed in; number 0 of the tints leaves it as it is."""
_FACTS = (len(PLACES), len(SIZES), 1 + len(TINTS))


@dataclass(frozen=True)
class Layout:
    """Numbers of places, sizes and tints, int64 [...], in the orders of their tables; `there`, bool [...]."""

    places: Tensor
    sizes: Tensor
    tints: Tensor
    there: Tensor

    @classmethod
    def told(cls, things: Sequence[tuple[str, str, str] | None]) -> Layout:
        """Of things by the words of their place, size and tint [N]; of no thing the first of each."""
        tables = (list(PLACES), list(SIZES), ["", *TINTS])
        rows = [
            (*(table.index(word) for table, word in zip(tables, thing, strict=True)), 1)
            if thing
            else (0,) * 4
            for thing in things
        ]
        place, size, tint, there = torch.tensor(rows).T
        return cls(place, size, tint, there > 0)

    @classmethod
    def every(cls) -> Layout:
        """Each place in each size and tint."""
        places, sizes, tints = torch.cartesian_prod(*(torch.arange(count) for count in _FACTS)).unbind(1)
        return cls(places, sizes, tints, torch.ones_like(places, dtype=torch.bool))

    def vectors(self) -> Tensor:
        """One vector of unit variance for each thing [..., 256]; 0 for no thing."""
        rows = _rows(self.places.device)
        facts = zip((self.places, self.sizes, self.tints), rows.split(_FACTS), strict=True)
        summed = torch.stack([table[numbers] for numbers, table in facts]).sum(0)
        vectors: Tensor = summed * self.there[..., None] / len(_FACTS) ** 0.5
        return vectors

    @classmethod
    def of(cls, vectors: Tensor) -> Layout:
        """What vectors [..., 256] are nearest to; a thing is there where most of its length is."""
        places, sizes, tints = nearness(vectors)
        strength = (places.amax(-1) + sizes.amax(-1) + tints.amax(-1)) / len(_FACTS)
        return cls(places.argmax(-1), sizes.argmax(-1), tints.argmax(-1), strength > 0.5)

    def poses(self) -> Tensor:
        """x, y and half size [..., 3] in -1..1, as `composition.together` takes them."""
        middles = cells(self.places.device)[self.places]
        halves = torch.tensor(list(SIZES.values()), device=middles.device)[self.sizes] / 3
        return torch.cat([middles, (halves * self.there)[..., None]], dim=-1)


def cells(device: torch.device) -> Tensor:
    """The middles of the nine places [9, 2] in -1..1."""
    return torch.tensor(list(PLACES.values()), device=device) * (2 / 3)


def nearness(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """How much of each place, size and tint is in vectors [..., 256]: 1 of what a layout has, 0 of all else."""
    near = vectors.float() @ _rows(vectors.device).T / WIDTH * len(_FACTS) ** 0.5
    places, sizes, tints = near.split(_FACTS, dim=-1)
    return places, sizes, tints


def dyed(layers: Tensor, tints: Tensor) -> Tensor:
    """Premultiplied layers [N, 4, H, W] in 0..1 with the same light and shade in other colours; tint 0 changes none."""
    light = (layers[:, :3] * layers.new_tensor([0.3, 0.59, 0.11])[:, None, None]).sum(1, keepdim=True)
    alpha = layers[:, 3:]
    colours = layers.new_tensor([(0, 0, 0), *TINTS.values()])[tints][:, :, None, None] / 255
    other = torch.minimum(colours * (0.35 * alpha + 0.85 * light), alpha)
    return torch.cat([torch.where((tints > 0)[:, None, None, None], other, layers[:, :3]), alpha], dim=1)


def _rows(device: torch.device) -> Tensor:
    """Rows of the Hadamard matrix of 256, one for each place, size and tint; the first of it, all ones, is left out."""
    matrix = torch.ones(1, 1, device=device)
    while len(matrix) < WIDTH:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix[1 : 1 + sum(_FACTS)]
