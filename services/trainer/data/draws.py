"""Random scenes for training: every combination of the world but those that are kept for judging."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from services.trainer.data import world
from services.trainer.data.split import is_held_out
from services.trainer.data.world import Scene

MOTIONS = ("", *world.MOTIONS)
"""No motion first: a scene is told by the numbers of its kind, its colour and its motion here."""


@dataclass(frozen=True)
class SceneDraws:
    """The scenes of training as numbers [N, 3]."""

    stills: Tensor
    moved: Tensor

    @classmethod
    def open(cls) -> SceneDraws:
        """Those of the world, on the device in force."""
        return cls(*(torch.tensor(numbers) for numbers in _trained()))

    def still(self, count: int) -> Tensor:
        """Random scenes that stand still, int64 [count, 3]."""
        return self.stills[torch.randint(len(self.stills), (count,))]

    def faces(self, count: int) -> Tensor:
        """Random faces, likewise."""
        faces = self.stills[self.stills[:, 0] >= len(world.OBJECTS)]
        return faces[torch.randint(len(faces), (count,))]

    def moving(self, count: int) -> Tensor:
        """Random scenes that move, int64 [count, 3]."""
        return self.moved[torch.randint(len(self.moved), (count,))]

    def scenes(self, numbers: Tensor) -> list[Scene]:
        """Numbers [N, 3] -> scenes."""
        kinds, colours = world.kinds(), list(world.COLOURS)
        return [
            Scene(kinds[kind], colours[colour], MOTIONS[motion]) for kind, colour, motion in numbers.tolist()
        ]


@cache
def _trained() -> tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]:
    return _numbers(world.scenes()), _numbers(world.moving_scenes())


def _numbers(scenes: Iterable[Scene]) -> list[tuple[int, int, int]]:
    kinds = {kind: number for number, kind in enumerate(world.kinds())}
    colours = {colour: number for number, colour in enumerate(world.COLOURS)}
    return [
        (kinds[scene.kind], colours[scene.colour], MOTIONS.index(scene.motion))
        for scene in scenes if not is_held_out(scene)
    ]  # fmt: skip
