"""The stages that train the video parts of a pack.

The denoiser of motion codes learns together with the image denoiser (`services.trainer.denoisers`).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.motion import KEY_FRAME
from anygpt_models.video_codec import MotionCodec
from anygpt_models.video_recogniser import MotionRecogniser
from services.trainer.data import videos, world
from services.trainer.data.draws import MOTIONS, SceneDraws
from services.trainer.data.scenes import Album
from services.trainer.image_codec import psnr
from services.trainer.loop import train
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet, above, strip

SIZE = 32
PART = "motion_codec"


def run_codec(recipe: Recipe) -> None:
    """Learn the motion codes themselves, from maps that are known: the six motions and any mixture of moves."""
    codec, count, album = recipe.build(MotionCodec, PART), recipe.many(48), Album.open(recipe.cache)
    codec.encoder.requires_grad_(False)
    codec.to_levels.requires_grad_(False)

    def step(_: int) -> Tensor:
        maps = torch.cat([named_maps(count // 6), videos.relative_poses(videos.random_poses(count))])
        affine, field = codec.moved(codec.poses(maps))
        return 10 * functional.mse_loss(affine, maps) + field.square().mean()

    def sample() -> Sheet:
        frames, maps = videos.render(
            album, [world.Scene("rocket", "blue", motion) for motion in world.MOTIONS]
        )
        found = codec.decode(frames[:, KEY_FRAME], codec.encode_poses(maps))
        return Sheet(f"{psnr(found, frames):.2f} dB by codes of known maps", filmed(frames, found), columns=1)

    train(recipe.run("motion_codec", learning_rate=3e-3, bf16=False), codec, step, sample)
    recipe.keep(codec, PART)


def run_sight(recipe: Recipe) -> None:
    """Learn to see the motion codes in frames; the codes stay as they are.

    Measured after 220 steps, warping the true key frame: 26.8 dB by known maps, 23.7 dB by sight.
    """
    album, codec, count = Album.open(recipe.cache), recipe.part(MotionCodec, PART), recipe.many(12)
    codec.encoder.requires_grad_(True)
    codec.to_levels.requires_grad_(True)

    def step(_: int) -> Tensor:
        frames, maps, _labels = clips(album, count)
        wanted = codec.poses(maps).tanh()
        return functional.mse_loss(codec(frames + 0.03 * torch.randn_like(frames)).float().tanh(), wanted)

    def sample() -> Sheet:
        frames, maps, _labels = clips(album, 12, size=128)
        told = codec.decode(frames[:, KEY_FRAME], codec.encode_poses(maps))
        shown = codec.decode(frames[:, KEY_FRAME], codec.encode(frames))
        figures = f"{psnr(told, frames):.2f} dB by known maps, {psnr(shown, frames):.2f} dB by sight"
        return Sheet(figures, filmed(frames, shown)[:6], columns=1)

    train(recipe.run("motion_sight", learning_rate=2e-3, sample_every=200), codec, step, sample)
    recipe.keep(codec, PART)


def run_recogniser(recipe: Recipe) -> None:
    """Learn which of six motions, or none, a clip shows, at any strength and with noise.

    Measured after 220 steps: 70 of 70 new clips.
    """
    album, model = Album.open(recipe.cache), recipe.build(MotionRecogniser, "motion_recogniser", MOTIONS)
    count = recipe.many(12)

    def step(_: int) -> Tensor:
        frames, _maps, labels = clips(album, count)
        noise = 0.1 * torch.rand(len(frames), 1, 1, 1, 1) * torch.randn_like(frames)
        return functional.cross_entropy(model(frames + noise).float(), labels)

    def sample() -> Sheet:
        frames, _maps, labels = clips(album, 70)
        right = float((model(frames).argmax(1) == labels).float().mean())
        names = [name or "stays" for name in model.name(frames[::5])]
        strips = [Cell(strip(clip), name) for clip, name in zip(frames[::5], names, strict=True)]
        return Sheet(f"right motion {right:.3f}", strips, columns=2)

    train(recipe.run("motion_recogniser", learning_rate=1e-3, sample_every=100), model, step, sample)
    recipe.keep(model, "motion_recogniser")


def filmed(wanted: Tensor, found: Tensor) -> list[Cell]:
    """Frames of clips above what became of them."""
    return [Cell(above(strip(one), strip(other))) for one, other in zip(wanted, found, strict=True)]


def named_maps(count: int) -> Tensor:
    """The maps [6 count, 24, 2, 3] of the six motions at so many strengths."""
    strengths = (0.5 + 0.6 * torch.rand(count)).tolist()
    poses = [videos.motion_poses(motion, strength) for motion in world.MOTIONS for strength in strengths]
    return videos.relative_poses(torch.stack(poses))


def clips(album: Album, count: int, size: int = SIZE) -> tuple[Tensor, Tensor, Tensor]:
    """Random moving scenes of random strength: frames, true maps, motion labels (0 = still)."""
    draws, still = SceneDraws.open(), max(1, count // len(MOTIONS))
    numbers = torch.cat([draws.still(still), draws.moving(count - still)])
    frames, maps = videos.render(album, draws.scenes(numbers), 0.5 + 0.6 * torch.rand(count), size)
    return frames, maps, numbers[:, 2]


STAGES = {"codec": run_codec, "sight": run_sight, "recogniser": run_recogniser}
