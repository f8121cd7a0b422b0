"""What stands before a plain backdrop: found by colour, without weights."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

FAINT, CLEAR = 0.12, 0.3
"""Difference from the backdrop, in -1..1, below which nothing is there and above which something surely is."""


def border_colour(pixels: Tensor) -> Tensor:
    """The median colour [B, 3] of the border of pixels [B, 3, H, W]."""
    edges = (pixels[:, :, 0], pixels[:, :, -1], pixels[:, :, :, 0], pixels[:, :, :, -1])
    return torch.cat(edges, dim=2).median(dim=2).values


def cover(pixels: Tensor, backdrop: Tensor) -> Tensor:
    """How much of each pixel is not the backdrop [B, 3], soft 0..1: [B, 1, H, W]."""
    difference = (pixels - backdrop[:, :, None, None]).abs().amax(1, keepdim=True)
    return ((difference - FAINT) / (CLEAR - FAINT)).clamp(0, 1)


def on_backdrop(pixels: Tensor, other: Tensor) -> Tensor:
    """The same things before another backdrop [3]."""
    backdrop = border_colour(pixels)
    return pixels + (1 - cover(pixels, backdrop)) * (other - backdrop)[:, :, None, None]


def focused(pixels: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The thing alone, as large as it fits: colours times cover and cover [B, 4, size, size]; its backdrop [B, 3]."""
    backdrop = border_colour(pixels)
    coarse = cover(functional.avg_pool2d(pixels, 4), backdrop)[:, 0] > 0.5
    top, bottom = _ends(coarse.any(2))
    left, right = _ends(coarse.any(1))
    half = (torch.maximum(bottom - top, right - left) / 2 * 1.05).clamp(0.1, 1.0)
    zero = torch.zeros_like(half)
    rows = [
        torch.stack([half, zero, (left + right) / 2], dim=1),
        torch.stack([zero, half, (top + bottom) / 2], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), [len(pixels), 3, size, size], align_corners=False)
    near = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    covered = cover(near, backdrop)
    return torch.cat([near * covered, covered], dim=1), backdrop


def moments(pixels: Tensor, backdrop: Tensor) -> Tensor:
    """Size, place and spread [B, 6] of what is not the backdrop: area, x, y, xx - yy, 2 xy, xx + yy."""
    weight = cover(pixels, backdrop)[:, 0] + 1e-4
    height, width = weight.shape[1:]
    down = torch.linspace(-1, 1, height, device=pixels.device)[None, :, None]
    across = torch.linspace(-1, 1, width, device=pixels.device)[None, None]
    total = weight.sum((1, 2))

    def mean(of: Tensor) -> Tensor:
        return (weight * of).sum((1, 2)) / total

    x, y = mean(across), mean(down)
    xx, yy, xy = mean(across**2) - x**2, mean(down**2) - y**2, mean(across * down) - x * y
    return torch.stack([total / (height * width), x, y, xx - yy, 2 * xy, xx + yy], dim=1)


def _ends(there: Tensor) -> tuple[Tensor, Tensor]:
    """First and last place [B] in -1..1 along a bool line [B, N]; the whole line when nothing is there."""
    count = there.shape[1]
    there = there | ~there.any(1, keepdim=True)
    first = there.float().argmax(1)
    last = count - there.flip(1).float().argmax(1)
    return first / count * 2 - 1, last / count * 2 - 1
