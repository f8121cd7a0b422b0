"""Which pictures a batch shows: the things of the world in their canonical pose, and any others in any pose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from anygpt_models.image_autoencoder import over
from services.trainer.data import world
from services.trainer.data.scenes import CANONICAL, SLIGHT, Album, Jitter, posed, poses

LOOSE = Jitter(shift=0.1, scale=0.25, turn=0.15, flip=True)
CANONICAL_COLOUR = "purple"
"""The colour that fewest things have: before it, the codes of a thing tell most."""


@dataclass(frozen=True)
class Mixture:
    """Known pictures (named in the world), the rest for training, and every 25th other picture held out."""

    album: Album

    @cached_property
    def known(self) -> Tensor:
        """Rows of the pictures that the world names."""
        return torch.tensor(sorted(row for rows in self.album.rows.values() for row in rows))

    @cached_property
    def place_of_known(self) -> Tensor:
        """Row of the album [pictures] -> its place among `known`, -1 for the others."""
        place = torch.full((len(self.album.pixels),), -1)
        place[self.known] = torch.arange(len(self.known))
        return place

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

    def layers(self, rows: Tensor, jitter: Jitter) -> Tensor:
        """Rows in their poses, as the layers [B, 4, 128, 128] that the codec decodes to."""
        rgba = posed(self.album.rgba(rows), poses(len(rows), jitter))
        return torch.cat([rgba[:, :3] * 2 - 1, rgba[:, 3:]], dim=1).contiguous(
            memory_format=torch.channels_last
        )

    def show(self, rows: Tensor, jitter: Jitter, backdrops: Tensor | None = None) -> Tensor:
        """Rows on backdrops (random when not given, [B, 3] in -1..1) as pixels [B, 3, 128, 128] in -1..1."""
        return over(self.layers(rows, jitter), any_backdrops(len(rows)) if backdrops is None else backdrops)

    def batch(self, count: int) -> Tensor:
        """Layers: half known pictures near their canonical pose, half any."""
        half = count // 2
        return torch.cat(
            [self.layers(pick(self.known, half), SLIGHT), self.layers(pick(self.rest, count - half), LOOSE)]
        )

    def before(self, rows: Tensor, backdrop: Tensor) -> Tensor:
        """Rows in the canonical pose before one backdrop [3]."""
        return self.show(rows, CANONICAL, backdrop.expand(len(rows), 3))


def palette() -> Tensor:
    """The colours of the world [colours, 3] in -1..1, in their order."""
    return torch.tensor(list(world.COLOURS.values())) / 127.5 - 1


def canonical_backdrop() -> Tensor:
    """The colour [3] in -1..1 before which pictures become codes."""
    return palette()[list(world.COLOURS).index(CANONICAL_COLOUR)]


def any_backdrops(count: int) -> Tensor:
    """Random colours of the world [B, 3] in -1..1."""
    return pick(palette(), count)


def pick(rows: Tensor, count: int) -> Tensor:
    """A random draw with replacement along the first dimension."""
    return rows[torch.randint(len(rows), (count,))]
