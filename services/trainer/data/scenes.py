"""Scenes as pixels: a picture of a thing, placed on a plain background."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from services.trainer.data import images, world

OBJECT_SCALE = 0.8
"""Side of the picture as a share of the frame's side, in a canonical scene."""


@dataclass(frozen=True)
class Jitter:
    """Largest deviation from the canonical pose: shift as a share of the frame, scale as a factor, turn in radians."""

    shift: float = 0.0
    scale: float = 0.0
    turn: float = 0.0
    flip: bool = False


CANONICAL = Jitter()
SLIGHT = Jitter(shift=0.02, scale=0.03)
STRONG = Jitter(shift=0.12, scale=0.25, turn=0.2, flip=True)


@dataclass(frozen=True)
class Album:
    """All pictures in memory, ready to be placed."""

    stills: images.Pictures

    @classmethod
    def open(cls, cache: Path) -> Album:
        """Fetch, decode or map the pictures."""
        return cls(images.pictures(cache))

    @cached_property
    def pixels(self) -> Tensor:
        """uint8 [N, 4, 128, 128]."""
        return torch.as_tensor(self.stills.pixels.copy()).permute(0, 3, 1, 2).contiguous()

    @cached_property
    def rows(self) -> dict[str, list[int]]:
        """Kind -> rows of its pictures, the plainest first."""
        return {
            kind: [self.stills.index(point) for point in world.code_points(kind)] for kind in world.kinds()
        }

    @cached_property
    def choices(self) -> tuple[Tensor, Tensor]:
        """Rows of the pictures of each kind [kinds, most], filled up with 0, and how many each kind has [kinds]."""
        rows = [self.rows[kind] for kind in world.kinds()]
        most = max(map(len, rows))
        return torch.tensor([row + [0] * (most - len(row)) for row in rows]), torch.tensor([*map(len, rows)])

    def any_of(self, kinds: Tensor, variants: int = 1_000) -> Tensor:
        """A random one of the first pictures of each kind [B]."""
        rows, counts = self.choices
        drawn = torch.rand(len(kinds)) * counts[kinds].clamp(max=variants)
        return rows[kinds, drawn.long()]

    def rgba(self, rows: Tensor) -> Tensor:
        """Pictures with alpha multiplied in, float [B, 4, 128, 128] in 0..1."""
        return images.premultiplied(self.pixels[rows])

    def render(self, scenes: list[world.Scene], jitter: Jitter = CANONICAL, variants: int = 1) -> Tensor:
        """Still scenes as pixels [B, 3, 128, 128] in -1..1; faces pick one of their first variants at random."""
        rows = []
        for scene in scenes:
            choices = self.rows[scene.kind][:variants]
            rows.append(choices[int(torch.randint(len(choices), ()))])
        return place(
            self.rgba(torch.tensor(rows)),
            backgrounds([scene.colour for scene in scenes]),
            poses(len(rows), jitter),
        )


def backgrounds(colours: list[str]) -> Tensor:
    """Colour names as [B, 3] in 0..1."""
    return torch.tensor([world.COLOURS[colour] for colour in colours]).float() / 255


def poses(count: int, jitter: Jitter = CANONICAL) -> Tensor:
    """Random placements [B, 2, 3], from frame coordinates to picture coordinates, as `affine_grid` takes them."""
    spread = torch.rand(4, count) * 2 - 1
    zoom = OBJECT_SCALE * (1 + jitter.scale * spread[2])
    turn = jitter.turn * spread[3]
    side = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if jitter.flip else torch.ones(count)
    return placement(2 * jitter.shift * spread[:2], zoom, turn, side)


def placement(shift: Tensor, zoom: Tensor, turn: Tensor, side: Tensor) -> Tensor:
    """Sampling matrix [B, 2, 3] of an object at `shift` [2, B] (frame = -1..1), sized, turned and mirrored [B]."""
    cos, sin = torch.cos(turn) / zoom, torch.sin(turn) / zoom
    rows = torch.stack([torch.stack([side * cos, side * sin]), torch.stack([-sin, cos])])
    offset = -torch.einsum("ijb,jb->ib", rows, shift)
    return torch.cat([rows, offset[:, None]], dim=1).permute(2, 0, 1)


def place(rgba: Tensor, background: Tensor, theta: Tensor) -> Tensor:
    """Composite premultiplied pictures on a plain background; pixels in -1..1."""
    moved = posed(rgba, theta)
    return (moved[:, :3] + background[:, :, None, None] * (1 - moved[:, 3:])) * 2 - 1


def posed(rgba: Tensor, theta: Tensor, size: int = 0) -> Tensor:
    """Premultiplied pictures in their poses, transparent around; `size` pixels a side, the picture's own without it."""
    shape = [*rgba.shape[:2], size, size] if size else list(rgba.shape)
    grid = functional.affine_grid(theta, shape, align_corners=False)
    return functional.grid_sample(rgba, grid, align_corners=False)
