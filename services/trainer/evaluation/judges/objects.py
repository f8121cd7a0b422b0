"""What a picture shows, by a small network that was trained apart: it shares neither weights nor code with a pack."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.backdrop import focused
from anygpt_models.layout import TINTS, dyed
from services.trainer.data import world
from services.trainer.data.scenes import STRONG, Album, backgrounds, place, poses
from services.trainer.loop import Run, train

SIDE, DRAWN = 40, 64
"""Sides of the pictures that it sees, and of those it learns from."""
BATCH = 96
STEPS, MINUTES = 2500, 5.0
FILE, SCENES_FILE = "objects.safetensors", "scene_objects.safetensors"
SMALLEST = 20
"""Pixels of the smallest thing in a scene."""
FACES = 8


class ObjectJudge(nn.Module):
    """The thing before a plain background [B, 3, H, W] in -1..1, whatever its size and place."""

    def __init__(self) -> None:
        super().__init__()
        widths = (4, 32, 64, 128)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        self.out = nn.Linear(widths[-1] * (SIDE // 8) ** 2, len(world.kinds()))

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of the world's kinds [B, kinds]."""
        seen, _ = focused(pixels, SIDE)
        logits: Tensor = self.out(self.layers(seen))
        return logits

    @torch.no_grad()
    def name(self, pixels: Tensor) -> str:
        """The kind on pixels [3, H, W]."""
        return world.kinds()[int(self(pixels[None])[0].argmax())]


def object_judge(cache: Path, in_scenes: bool = False) -> ObjectJudge:
    """The judge from the cache; trained there at first, which takes some minutes.

    The one of things in scenes has seen them small, and dyed.
    """
    path = cache / "judges" / (SCENES_FILE if in_scenes else FILE)
    judge = ObjectJudge()
    if path.exists():
        judge.load_state_dict(load_file(path))
        return judge.eval()
    _train(judge, Album.open(cache), path.with_suffix(""), in_scenes)
    save_file(judge.state_dict(), path)
    return judge.eval()


def _train(judge: ObjectJudge, album: Album, folder: Path, in_scenes: bool) -> None:
    shown = [(row, number) for number, kind in enumerate(world.kinds()) for row in album.rows[kind][:FACES]]
    rows, labels = (torch.tensor(column) for column in zip(*shown, strict=True))
    small = functional.interpolate(album.rgba(rows), (DRAWN, DRAWN), mode="area")
    colours = backgrounds(list(world.COLOURS))

    def step(_: int) -> Tensor:
        chosen = torch.randint(len(shown), (BATCH,))
        grounds = colours[torch.randint(len(colours), (BATCH,))]
        things = _small_and_dyed(small[chosen]) if in_scenes else small[chosen]
        return functional.cross_entropy(
            judge(_worn(place(things, grounds, poses(BATCH, STRONG)))), labels[chosen]
        )

    run = Run(folder, STEPS, MINUTES, learning_rate=3e-3, warmup=50, save_every=500, seed=11)
    train(run, judge, step)


def _small_and_dyed(things: Tensor) -> Tensor:
    """Premultiplied pictures as scenes have them: half of them dyed, all of few pixels."""
    tints = torch.randint(1 + len(TINTS), (len(things),)) * (torch.rand(len(things)) < 0.5)
    side = int(torch.randint(SMALLEST, DRAWN, ()))
    few = functional.interpolate(dyed(things, tints), (side, side), mode="area")
    return functional.interpolate(few, things.shape[-2:], mode="bilinear")


def _worn(pixels: Tensor) -> Tensor:
    """Pictures as imperfect decoders give them: blurred, noisy, with their colours off."""
    half = functional.interpolate(pixels, scale_factor=0.5, mode="area")
    blurred = functional.interpolate(half, pixels.shape[-2:], mode="bilinear")
    mix = torch.rand(len(pixels), 1, 1, 1)
    shade = 1 + 0.1 * torch.randn(len(pixels), 3, 1, 1)
    return (mix * blurred + (1 - mix) * pixels) * shade + 0.03 * torch.randn_like(pixels)
