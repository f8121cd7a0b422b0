"""Animated things beside their still pictures, as what learns to see them is shown them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from services.trainer.data import videos, world
from services.trainer.data.animations import Animations, animations
from services.trainer.data.draws import SceneDraws
from services.trainer.data.mixture import palette, pick
from services.trainer.data.scenes import SLIGHT, Album, place, poses
from services.trainer.image_recogniser import AUGMENTED, worn
from services.trainer.video import SIZE


@dataclass(frozen=True)
class Cast:
    """Draws frames and clips of animated things, in combinations of training only."""

    album: Album
    animations: Animations
    draws: SceneDraws

    @classmethod
    def open(cls, cache: Path) -> Cast:
        """Fetch, decode or map what there is."""
        return cls(Album.open(cache), animations(cache), SceneDraws.open())

    def frames(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Worn frames as they come, clean pictures of the same [B, 3, 128, 128], and their kinds [B]."""
        rows, (kinds, colours, _) = self._drawn(self.draws.stills, count)
        behind = (palette()[colours] + 1) / 2
        uneven = (behind + 0.03 * torch.randn(count, 3)).clamp(0, 1)
        alive = place(self._played(rows)[:, 0], uneven, poses(count, AUGMENTED))
        return worn(alive), place(self._stills(rows), behind, poses(count, SLIGHT)), kinds

    def clips(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Animated clips, clips of still pictures that move alike [B, 24, 3, 32, 32], and their motions [B].

        In one of seven the thing stays where it is.
        """
        rows, numbers = self._drawn(torch.cat([self.draws.stills, self.draws.moved]), count)
        scenes, strengths = self.draws.scenes(torch.stack(numbers, 1)), 0.5 + 0.6 * torch.rand(count)
        alive, _ = videos.moved(self._played(rows), scenes, strengths, SIZE)
        still, _ = videos.moved(self._stills(rows)[:, None], scenes, strengths, SIZE)
        return alive, still, numbers[2]

    def _played(self, rows: list[int]) -> Tensor:
        """Animations from any frame on."""
        return self.animations.played(rows, torch.randint(videos.FRAMES, (len(rows),)).tolist())

    def _stills(self, rows: list[int]) -> Tensor:
        """The pictures of the same emoji."""
        points = [self.animations.code_points[row] for row in rows]
        return self.album.rgba(torch.tensor([self.album.stills.index(point) for point in points]))

    def _drawn(self, scenes: Tensor, count: int) -> tuple[list[int], tuple[Tensor, ...]]:
        """Rows of animations, and the numbers of what they show, out of scenes [N, 3]."""
        drawn = pick(scenes[self._animated[scenes[:, 0]]], count)
        choices = [self.animations.rows[world.kinds()[kind]] for kind in drawn[:, 0].tolist()]
        return [rows[int(torch.randint(len(rows), ()))] for rows in choices], drawn.unbind(1)

    @cached_property
    def _animated(self) -> Tensor:
        """Whether a kind has an animation."""
        return torch.tensor([kind in self.animations.rows for kind in world.kinds()])
