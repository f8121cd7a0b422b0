"""Several things before one backdrop: where each stands, and each alone as a codec of single things sees it.

Things stand in the cells of a 3 x 3 grid and do not cross its lines; what crosses one is a single thing of any size.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.backdrop import border_colour, cover
from anygpt_models.layout import TINTS

CELLS = 3
FILL = 0.8
"""Share of its window that a thing fills when it is looked at alone."""
STEPS = 64
"""Steps of a place or a size in its code."""
FAINTEST = 0.004
"""Share of a cell that something must cover to be there."""
CLOSE = 64
"""Pixels a side in which a thing is kept while it is put in its place."""


def standing(pixels: Tensor, count: int) -> Tensor:
    """Pixels [B, 3, H, W] in -1..1 -> x, y and half size [B, count, 3] in -1..1 of each thing; size 0 is no thing.

    In reading order; of more than `count` things, the largest.
    """
    covered = cover(pixels, border_colour(pixels))[:, 0]
    cells = _cells(covered.shape[1], covered.device)
    mass = torch.einsum("bhw,ih,jw->bij", covered, cells.float(), cells.float()).flatten(1)
    mass = mass / (covered.shape[1] / CELLS) ** 2
    largest = mass.topk(count, dim=1).indices.sort(dim=1).values
    rows, columns = cells[largest // CELLS], cells[largest % CELLS]
    alone = covered[:, None] * (rows[..., :, None] & columns[..., None, :])
    boxes = _box(alone) * (mass.gather(1, largest) > FAINTEST)[..., None]
    whole = functional.pad(_box(covered[:, None]), (0, 0, 0, count - 1))
    return torch.where(_crosses_a_line(covered)[:, None, None], whole, _absent_last(boxes))


def alone(pixels: Tensor, poses: Tensor) -> Tensor:
    """Each thing [B K, 3, H, W] in the middle of a window of its own; windows of no thing are backdrop."""
    batch, count = poses.shape[:2]
    x, y, half = poses.flatten(0, 1).unbind(1)
    away = torch.where(half > 0, half / FILL, torch.ones_like(half))
    grid = functional.affine_grid(
        _matrix(away, x, y), [batch * count, *pixels.shape[1:]], align_corners=False
    )
    repeated = pixels.repeat_interleave(count, 0)
    seen = functional.grid_sample(repeated, grid, padding_mode="border", align_corners=False)
    backdrop = border_colour(pixels).repeat_interleave(count, 0)[:, :, None, None]
    return torch.where(half[:, None, None, None] > 0, seen, backdrop.expand_as(seen))


def together(layers: Tensor, poses: Tensor, backdrop: Tensor) -> Tensor:
    """Layers [B K, 4, H, W] of things alone, put where they stand before backdrops [B, 3]: pixels [B, 3, H, W]."""
    batch, count = poses.shape[:2]
    small = functional.interpolate(layers.float(), (CLOSE, CLOSE), mode="area")
    x, y, half = poses.flatten(0, 1).unbind(1)
    away = half.clamp(min=1e-3) / FILL
    grid = functional.affine_grid(
        _matrix(1 / away, -x / away, -y / away), [batch * count, 4, *layers.shape[2:]], align_corners=False
    )
    premultiplied = torch.cat([(small[:, :3] + 1) / 2, small[:, 3:]], dim=1).clamp(0, 1)
    placed = (
        functional.grid_sample(premultiplied, grid, align_corners=False) * (half > 0)[:, None, None, None]
    )
    picture = ((backdrop + 1) / 2)[:, :, None, None].expand(-1, -1, *layers.shape[2:])
    for thing in placed.unflatten(0, (batch, count)).unbind(1):
        picture = picture * (1 - thing[:, 3:]) + thing[:, :3]
    return picture * 2 - 1


def apart(pixels: Tensor) -> Tensor:
    """Whether there are things and each stands in a cell of its own, so that a picture is a scene; bool [B]."""
    covered = cover(pixels, border_colour(pixels))[:, 0]
    cell = (covered.shape[1] / CELLS) ** 2
    return ~_crosses_a_line(covered) & (covered.sum((1, 2)) > FAINTEST * cell)


def pose_codes(poses: Tensor, tints: Tensor | None = None) -> Tensor:
    """Poses [B, K, 3] -> two codes each, int64 [B, K, 2]: the place, 64 x 64 steps, and the size, 0 for no thing.

    The second one tells a tint too, number x 64, where it is not in the look of the thing already.
    """
    steps = ((poses[..., :2] + 1) / 2 * (STEPS - 1)).round().long().clamp(0, STEPS - 1)
    size = (poses[..., 2] * (STEPS - 1)).round().long().clamp(0, STEPS - 1)
    dye = 0 if tints is None else tints * STEPS
    return torch.stack([steps[..., 0] * STEPS + steps[..., 1], size + dye], dim=-1)


def tints_of(codes: Tensor) -> Tensor:
    """The numbers of the tints in codes [..., 2]; 0 is none."""
    return codes[..., 1] // STEPS % (1 + len(TINTS))


def poses_of(codes: Tensor) -> Tensor:
    """The inverse of `pose_codes`, to half a step."""
    place, size = codes[..., 0], codes[..., 1] % STEPS
    steps = torch.stack([place // STEPS % STEPS, place % STEPS], dim=-1)
    return torch.cat([steps / (STEPS - 1) * 2 - 1, (size / (STEPS - 1))[..., None]], dim=-1)


def _matrix(scale: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sampling matrices [N, 2, 3] that scale and then move."""
    zero = torch.zeros_like(scale)
    rows = [torch.stack([scale, zero, x], dim=1), torch.stack([zero, scale, y], dim=1)]
    return torch.stack(rows, dim=1)


def _cells(size: int, device: torch.device) -> Tensor:
    """Which pixels of a line belong to each cell, bool [3, size]."""
    owner = torch.arange(size, device=device) * CELLS // size
    return owner[None] == torch.arange(CELLS, device=device)[:, None]


def _crosses_a_line(covered: Tensor) -> Tensor:
    """Whether anything [B, H, W] stands on a line between cells, bool [B]."""
    size = covered.shape[1]
    lines = [size * line // CELLS for line in range(1, CELLS)]
    on = torch.cat([covered[:, lines].flatten(1), covered[:, :, lines].flatten(1)], dim=1)
    return on.amax(1) > 0.5


def _box(covered: Tensor) -> Tensor:
    """Centre and half size [B, K, 3] of what is covered [B, K, H, W]; 0 where nothing is."""
    there = covered > 0.5
    x0, x1 = _ends(there.any(2))
    y0, y1 = _ends(there.any(3))
    half = torch.maximum(x1 - x0, y1 - y0) / 2
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, half], dim=-1) * there.flatten(2).any(2)[..., None]


def _ends(there: Tensor) -> tuple[Tensor, Tensor]:
    """First and last place in -1..1 along lines [B, K, N]."""
    count = there.shape[-1]
    first = there.float().argmax(-1)
    last = count - there.flip(-1).float().argmax(-1)
    return first / count * 2 - 1, last / count * 2 - 1


def _absent_last(boxes: Tensor) -> Tensor:
    """The same things, those that are not there behind the others."""
    order = (boxes[..., 2] == 0).long().argsort(dim=1, stable=True)
    return boxes.gather(1, order[..., None].expand_as(boxes))
