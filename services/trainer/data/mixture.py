"""Which pictures a batch shows: the things of the world in their canonical pose, and any others in any pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from services.trainer.data import world
from services.trainer.data.scenes import CANONICAL, SLIGHT, Album, Jitter, place, poses

LOOSE = Jitter(shift=0.1, scale=0.25, turn=0.15, flip=True)
PALETTE = torch.tensor(list(world.COLOURS.values())).float() / 255


@dataclass(frozen=True)
class Mixture:
    """Known pictures (named in the world), the rest for training, and every 25th other picture held out."""

    album: Album

    @cached_property
    def known(self) -> Tensor:
        """Rows of the pictures that the world names."""
        return torch.tensor(sorted(row for rows in self.album.rows.values() for row in rows))

    @cached_property
    def held_out(self) -> Tensor:
        """Rows that no training sees."""
        named = set(self.known.tolist())
        return torch.tensor([row for row in range(0, len(self.album.pixels), 25) if row not in named])

    @cached_property
    def rest(self) -> Tensor:
        """Rows for training."""
        out = set(self.held_out.tolist())
        return torch.tensor([row for row in range(len(self.album.pixels)) if row not in out])

    def show(self, rows: Tensor, jitter: Jitter, colours: Tensor | None = None) -> Tensor:
        """Rows on backgrounds (random when not given, [B, 3] in 0..1) as pixels [B, 3, 128, 128] in -1..1."""
        behind = PALETTE[torch.randint(len(PALETTE), (len(rows),))] if colours is None else colours
        pixels = place(self.album.rgba(rows), behind, poses(len(rows), jitter))
        return pixels.contiguous(memory_format=torch.channels_last)

    def batch(self, count: int) -> Tensor:
        """Half known pictures near their canonical pose, half any."""
        half = count // 2
        return torch.cat(
            [self.show(pick(self.known, half), SLIGHT), self.show(pick(self.rest, count - half), LOOSE)]
        )

    def examples(self, count: int) -> Tensor:
        """The same held-out pictures on each call."""
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return self.show(self.held_out[:count], CANONICAL)


def pick(rows: Tensor, count: int) -> Tensor:
    """A random draw with replacement along the first dimension."""
    return rows[torch.randint(len(rows), (count,))]
