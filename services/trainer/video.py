"""Train the video parts of a pack: `python -m services.trainer.video --stage codec|recogniser`.

The denoiser of motion codes learns together with the image denoiser (`services.trainer.denoisers`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.motion import KEY_FRAME, warp
from anygpt_models.video_codec import MotionCodec
from anygpt_models.video_recogniser import MotionRecogniser
from services.trainer.data import videos, world
from services.trainer.data.scenes import Album
from services.trainer.image_codec import psnr
from services.trainer.loop import train
from services.trainer.recipe import Recipe, main

MOTIONS = ("", *world.MOTIONS)
SIZE = 32


def run_codec(recipe: Recipe) -> None:
    """Learn frames <-> motion codes from moving scenes; the true map of each frame is known and is the main target."""
    album, codec = Album.open(recipe.cache), MotionCodec()

    def step(_: int) -> Tensor:
        frames, maps, _labels = clips(album, 16)
        affine, field = codec(frames + 0.03 * torch.randn_like(frames))
        seen = functional.mse_loss(warp(frames[:, KEY_FRAME], affine, field), frames)
        return 4 * functional.mse_loss(affine, maps) + seen + 0.1 * field.square().mean()

    def sample(done: int) -> None:
        frames, _, _ = clips(album, 12, size=128)
        print(f"step {done}: {psnr(codec.decode(frames[:, KEY_FRAME], codec.encode(frames)), frames):.2f} dB")

    train(recipe.run("motion_codec", learning_rate=2e-3, sample_every=200), codec, step, sample)
    sample(-1)
    recipe.keep(codec, "motion_codec")


def run_recogniser(recipe: Recipe) -> None:
    """Learn which of six motions, or none, a clip shows, at any strength and with noise."""
    album, model = Album.open(recipe.cache), MotionRecogniser(MOTIONS)

    def step(_: int) -> Tensor:
        frames, _, labels = clips(album, 16)
        noise = 0.1 * torch.rand(len(frames), 1, 1, 1, 1) * torch.randn_like(frames)
        return functional.cross_entropy(model(frames + noise).float(), labels)

    def sample(done: int) -> None:
        frames, _, labels = clips(album, 70)
        print(f"step {done}: right motion {float((model(frames).argmax(1) == labels).float().mean()):.3f}")

    train(recipe.run("motion_recogniser", learning_rate=1e-3, sample_every=100), model, step, sample)
    sample(-1)
    recipe.keep(model, "motion_recogniser")


def clips(album: Album, count: int, size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """Random moving scenes of random strength: frames, true maps, motion labels (0 = still)."""
    labels = torch.randint(len(MOTIONS), (count,))
    kinds, colours = torch.randint(len(world.kinds()), (count,)), torch.randint(len(world.COLOURS), (count,))
    names, palette = world.kinds(), list(world.COLOURS)
    scenes = [
        world.Scene(names[k], palette[c], MOTIONS[m]) for k, c, m in zip(kinds, colours, labels, strict=True)
    ]
    frames, maps = videos.render(album, scenes, 0.5 + 0.6 * torch.rand(count), size)
    return frames, maps, labels


STAGES = {"codec": run_codec, "recogniser": run_recogniser}

if __name__ == "__main__":
    main(STAGES)
