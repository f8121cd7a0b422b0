"""Which way something moves, by its centroid, its area and its axis from frame to frame; nothing is learned."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from services.trainer.data import world

DRIFT = 0.12
"""Least way of the centroid from start to end, as a share of the frame."""
SIZE = 64
TURNS = 24
"""Angles that a later frame is tried at."""
Numbers = NDArray[np.float64]


def motion(frames: Tensor) -> str:
    """The motion of frames [T, 3, H, W] in -1..1: one of the world's six."""
    masks, grey = _seen(frames)
    x, y, area = _moments(masks)
    third = max(1, len(x) // 3)
    across, down = x[-third:].mean() - x[:third].mean(), y[-third:].mean() - y[:third].mean()
    growth = math.log((area[-third:].mean() + 1e-6) / (area[:third].mean() + 1e-6))
    scores = {
        "left": -across / DRIFT,
        "right": across / DRIFT,
        "up": -down / DRIFT,
        "bounce": _bounce(y) / DRIFT,
        "grow": growth / 0.5,
        "spin": _turned(grey, x, y) if max(abs(across), abs(down)) < DRIFT and abs(growth) < 0.4 else 0.0,
    }
    return max(world.MOTIONS, key=scores.__getitem__)


def _seen(frames: Tensor) -> tuple[Tensor, Tensor]:
    """What is not the backdrop [T, S, S], and its brightness there."""
    small = functional.interpolate(frames, (SIZE, SIZE), mode="area")
    edges = torch.cat([small[:, :, 0], small[:, :, -1], small[:, :, :, 0], small[:, :, :, -1]], dim=2)
    backdrop = edges.median(dim=2).values.median(dim=0).values
    difference = (small - backdrop[None, :, None, None]).abs().amax(1)
    mask = (difference > 0.2).float()
    return mask, (small - backdrop[None, :, None, None]).mean(1) * mask


def _moments(masks: Tensor) -> tuple[Numbers, Numbers, Numbers]:
    """Centroids in 0..1 and area as a share of the frame, each [T]."""
    place = (torch.arange(SIZE) + 0.5) / SIZE
    area = masks.mean((1, 2))
    total = masks.sum((1, 2)).clamp_min(1.0)
    x, y = (masks.sum(1) * place).sum(1) / total, (masks.sum(2) * place).sum(1) / total
    return x.double().numpy(), y.double().numpy(), area.double().numpy()


def _bounce(y: Numbers) -> float:
    """How far the centroid goes up and comes back, both before and after the middle."""
    half = len(y) // 2
    ups = [min(part[0], part[-1]) - part.min() for part in (y[: half + 1], y[half:])]
    return float(min(ups))


def _turned(grey: Tensor, x: Numbers, y: Numbers) -> float:
    """How much better than unturned a later frame matches the first when it is turned, 0..2."""
    count = len(grey)
    first, later = _centred(grey[:1], x[:1], y[:1]), count // 4
    other = _centred(grey[later : later + 1], x[later : later + 1], y[later : later + 1])
    angles = torch.arange(TURNS) * (2 * math.pi / TURNS)
    rows = torch.stack(
        [
            torch.stack([torch.cos(angles), torch.sin(angles), torch.zeros(TURNS)], dim=1),
            torch.stack([-torch.sin(angles), torch.cos(angles), torch.zeros(TURNS)], dim=1),
        ],
        dim=1,
    )
    grid = functional.affine_grid(rows, [TURNS, 1, SIZE, SIZE], align_corners=False)
    turned = functional.grid_sample(first[:, None].expand(TURNS, 1, -1, -1), grid, align_corners=False)[:, 0]
    alike = functional.cosine_similarity(turned.flatten(1), other.flatten(1).expand(TURNS, -1), dim=1)
    return float(max(0.0, (alike[2:-1].max() - alike[0]).item()) * 4 + (0.25 if alike[0] < 0.9 else 0.0))


def _centred(grey: Tensor, x: Numbers, y: Numbers) -> Tensor:
    moved = [
        torch.roll(one, (round((0.5 - b) * SIZE), round((0.5 - a) * SIZE)), dims=(0, 1))
        for one, a, b in zip(grey, x, y, strict=True)
    ]
    return torch.stack(moved)
