"""Moving scenes: a thing on a plain background that moves in one of six ways, 24 frames at 8 a second."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from services.trainer.data import world
from services.trainer.data.scenes import OBJECT_SCALE, Album, backgrounds, place, placement

FRAMES = 24
FRAMES_PER_SECOND = 8
KEY_FRAME = 12
"""The frame in which every motion passes through the canonical pose."""


def motion_poses(motion: str, strength: float = 1.0) -> Tensor:
    """Sampling matrices [24, 2, 3] of a motion; strength 1 moves by 45 % of half a frame, or turns once."""
    time = (torch.arange(FRAMES) - KEY_FRAME) / KEY_FRAME
    still, reach = torch.zeros(FRAMES), 0.45 * strength
    shift = {
        "left": torch.stack([-reach * time, still]),
        "right": torch.stack([reach * time, still]),
        "up": torch.stack([still, -reach * time]),
        "bounce": torch.stack([still, -reach * (time * math.pi).sin().abs()]),
    }.get(motion, torch.stack([still, still]))
    zoom = OBJECT_SCALE * ((0.6 * strength * time).exp() if motion == "grow" else torch.ones(FRAMES))
    turn = math.pi * time if motion == "spin" else still
    return placement(shift, zoom, turn, torch.ones(FRAMES))


def random_poses(count: int) -> Tensor:
    """Sampling matrices [B, 24, 2, 3] of any mixture of drift, bounce, growth and turn."""
    time = ((torch.arange(FRAMES) - KEY_FRAME) / KEY_FRAME).expand(count, FRAMES)
    speed, bounce, growth, turn = (
        torch.randn(2, count, 1) * 0.4,
        torch.rand(count, 1),
        torch.randn(count, 1),
        torch.randn(count, 1),
    )
    drawn = torch.rand(4, count, 1) < 0.4
    shift = drawn[0] * speed * time
    shift[1] -= drawn[1] * 0.5 * bounce * (time * math.pi).sin().abs()
    zoom = OBJECT_SCALE * (drawn[2] * 0.5 * growth.clamp(-1.5, 1.5) * time).exp()
    angle = drawn[3] * math.pi * turn * time
    flat = placement(shift.flatten(1), zoom.flatten(), angle.flatten(), torch.ones(count * FRAMES))
    mixed: Tensor = flat.unflatten(0, (count, FRAMES))
    return mixed


def relative_poses(poses: Tensor) -> Tensor:
    """What turns the key frame into each frame: [..., 24, 2, 3] -> the same shape."""
    square = torch.cat([poses, torch.tensor([0.0, 0.0, 1.0]).expand(*poses.shape[:-2], 1, 3)], dim=-2)
    relative: Tensor = torch.linalg.inv(square[..., KEY_FRAME : KEY_FRAME + 1, :, :]) @ square
    return relative[..., :2, :]


def render(
    album: Album, scenes: list[world.Scene], strengths: Tensor | None = None, size: int = 128
) -> tuple[Tensor, Tensor]:
    """Moving scenes -> frames [B, 24, 3, size, size] in -1..1, and their motion against the key frame [B, 24, 2, 3]."""
    rows = [album.rows[scene.kind][0] for scene in scenes]
    return moved(album.rgba(torch.tensor(rows))[:, None], scenes, strengths, size)


def moved(
    rgba: Tensor, scenes: list[world.Scene], strengths: Tensor | None = None, size: int = 128
) -> tuple[Tensor, Tensor]:
    """As `render`, of given things [B, 24, 4, H, W], or [B, 1, 4, H, W] for those that look the same in all frames."""
    strong = torch.ones(len(scenes)) if strengths is None else strengths
    poses = torch.stack(
        [motion_poses(scene.motion, float(s)) for scene, s in zip(scenes, strong, strict=True)]
    )
    if size != rgba.shape[-1]:
        small = functional.interpolate(rgba.flatten(0, 1), (size, size), mode="area")
        rgba = small.unflatten(0, rgba.shape[:2])
    colours = backgrounds([scene.colour for scene in scenes])
    frames = place(
        rgba.expand(-1, FRAMES, -1, -1, -1).flatten(0, 1),
        colours.repeat_interleave(FRAMES, 0),
        poses.flatten(0, 1),
    )
    return frames.unflatten(0, (len(scenes), FRAMES)), relative_poses(poses)
