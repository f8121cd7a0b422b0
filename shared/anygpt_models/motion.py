"""How a clip moves against its key frame: the encoder that sees it, and the warp that repeats it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.backdrop import border_colour, moments
from anygpt_models.blocks import TransformerBlock, positions

FRAMES = 24
KEY_FRAME = 12
"""The frame that the image codec keeps; motion is told relative to it."""
MOMENTS = 6


class MotionEncoder(nn.Module):
    """Frames [B, 24, 3, H, W] in -1..1 -> motion vectors [B, 24, width], each frame beside the key frame.

    What stands before the backdrop is also measured, so that its path and size need not be learned.
    """

    def __init__(self, width: int = 128, depth: int = 2) -> None:
        super().__init__()
        self.see = nn.Sequential(
            nn.Conv2d(6, 24, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(24, 48, 4, stride=2, padding=1), nn.GELU(),
            nn.Conv2d(48, 64, 4, stride=2, padding=1), nn.GELU(),
        )  # fmt: skip
        self.lift = nn.Linear(64 * 16 + 2 * MOMENTS, width)
        self.places = positions(FRAMES, width)
        self.layers = nn.ModuleList([TransformerBlock(width, width // 32) for _ in range(depth)])

    def forward(self, frames: Tensor) -> Tensor:
        """Frames of any size -> vectors; they are looked at in 32x32."""
        small = functional.interpolate(frames.flatten(0, 1), (32, 32), mode="area").unflatten(
            0, frames.shape[:2]
        )
        change = small - small[:, KEY_FRAME : KEY_FRAME + 1]
        seen = (
            self.see(torch.cat([small, change], dim=2).flatten(0, 1))
            .flatten(1)
            .unflatten(0, frames.shape[:2])
        )
        backdrop = border_colour(small[:, KEY_FRAME]).repeat_interleave(frames.shape[1], dim=0)
        place = moments(small.flatten(0, 1), backdrop).unflatten(0, frames.shape[:2])
        moved = place - place[:, KEY_FRAME : KEY_FRAME + 1]
        x = self.lift(torch.cat([seen, place, 4 * moved], dim=2)) + self.places
        for layer in self.layers:
            x = layer(x)
        vectors: Tensor = x
        return vectors


class PoseEncoder(nn.Module):
    """Known affine maps [B, 24, 2, 3] of the key frame -> motion vectors [B, 24, digits]."""

    def __init__(self, digits: int, width: int = 64) -> None:
        super().__init__()
        self.lift = nn.Linear(6, width)
        self.places = positions(FRAMES, width)
        self.layer = TransformerBlock(width, width // 32)
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, digits))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps -> vectors before quantisation."""
        vectors: Tensor = self.out(self.layer(self.lift(maps.flatten(2)) + self.places))
        return vectors


class MotionDecoder(nn.Module):
    """Motion values [B, 24, D] -> each frame as an affine map, a coarse flow and a coarse residual of the key."""

    def __init__(self, digits: int, width: int = 128, depth: int = 2, coarse: int = 8) -> None:
        super().__init__()
        self.coarse = coarse
        self.lift = nn.Linear(digits, width)
        self.places = positions(FRAMES, width)
        self.layers = nn.ModuleList([TransformerBlock(width, width // 32) for _ in range(depth)])
        self.affine = _silent(nn.Linear(width, 6))
        self.field = _silent(nn.Linear(width, 5 * coarse * coarse))

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values -> affine maps [B, 24, 2, 3], and fields [B, 24, 5, 8, 8]: flow x, y, then residual r, g, b."""
        x = self.lift(values) + self.places
        for layer in self.layers:
            x = layer(x)
        identity = torch.eye(2, 3, device=x.device)
        affine = self.affine(x).float().unflatten(-1, (2, 3)) + identity
        return affine, self.field(x).float().unflatten(-1, (5, self.coarse, self.coarse))


def warp(key: Tensor, affine: Tensor, field: Tensor) -> Tensor:
    """Key frame [B, 3, H, W] -> frames [B, T, 3, H, W]; what comes in from outside continues the border."""
    batch, count = affine.shape[:2]
    size = key.shape[-2:]
    full = functional.interpolate(field.flatten(0, 1), size, mode="bilinear", align_corners=False)
    grid = functional.affine_grid(affine.flatten(0, 1), [batch * count, 3, *size], align_corners=False)
    grid = grid + 0.2 * full[:, :2].movedim(1, -1)
    repeated = key.float().repeat_interleave(count, dim=0)
    moved = functional.grid_sample(repeated, grid, padding_mode="border", align_corners=False)
    frames: Tensor = (moved + full[:, 2:]).unflatten(0, (batch, count))
    return frames


def _silent(layer: nn.Linear) -> nn.Linear:
    """A layer that says nothing at first."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
