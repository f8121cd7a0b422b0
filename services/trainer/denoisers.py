"""Recipe of what draws: caption -> condition -> codes of a picture, and of its motion when it has one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.image_codec import ImageCodec, with_backdrop
from anygpt_models.motion import FRAMES
from anygpt_models.video_codec import MotionCodec
from services.trainer import pack
from services.trainer.data import videos, world
from services.trainer.data.draws import SceneDraws
from services.trainer.data.mixture import Mixture, palette
from services.trainer.data.scenes import Album
from services.trainer.image_codec import PART as CODEC
from services.trainer.image_codec import canonical_codes
from services.trainer.loop import Run, train
from services.trainer.processes import once
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet

CAPTION, IMAGE, MOTION = "image_caption", "image_denoiser", "video_denoiser"
VARIANTS = 3
STRENGTHS = (0.9, 0.95, 1.0, 1.05, 1.1)


@dataclass(frozen=True)
class Targets:
    """Codes of stills [pictures, codes] and of motions [motions, clips, 24], and what draws scenes."""

    stills: Tensor
    motions: Tensor
    place: Tensor
    """Row of an album -> row of `stills`."""
    draws: SceneDraws
    album: Album

    def batch(self, count: int) -> tuple[list[str], Tensor, Tensor]:
        """Captions of random scenes, of which the last half moves; image codes of all, motion codes of these."""
        moving = count - count // 2
        drawn = torch.cat([self.draws.still(count - moving), self.draws.moving(moving)])
        rows = self.place[self.album.any_of(drawn[:, 0], VARIANTS)]
        codes = with_backdrop(self.stills[rows], palette()[drawn[:, 1]])
        motion = drawn[-moving:, 2] - 1
        clips = torch.randint(self.motions.shape[1], motion.shape)
        captions = [spoken(scene) for scene in self.draws.scenes(drawn)]
        return captions, codes, self.motions[motion, clips]


def run_denoiser(recipe: Recipe) -> None:
    """Learn to draw every scene of the world from its caption; one caption encoder serves stills and clips."""
    album, codec = Album.open(recipe.cache), recipe.part(ImageCodec, CODEC)
    targets, caption = targets_of(recipe, album, codec), recipe.build(CaptionEncoder, CAPTION, direct=True)
    image = recipe.build(
        CodeDenoiser, IMAGE, length=codec.length, width=160, direct=True, slots=len(targets.stills)
    )
    remember(image, targets.stills)
    motion = recipe.build(CodeDenoiser, MOTION, length=FRAMES, width=96, depth=2, direct=True)
    run = recipe.run("denoisers", learning_rate=2e-3, warmup=100, sample_every=250)
    learn(run, Drawing(caption, image, motion, codec), targets, recipe.many(64))
    for name, part in ((CAPTION, caption), (IMAGE, image), (MOTION, motion)):
        recipe.keep(part, name)
    once(lambda: pack.write_scheduler(recipe.pack))


def run_steady(recipe: Recipe) -> None:
    """Learn to draw from conditions that are a little off, as an output projection makes them; captions stay.

    Measured after 150 steps, four steps of diffusion: 94 % of kinds drawn from the codes of the right picture.
    """
    album, codec = Album.open(recipe.cache), recipe.part(ImageCodec, CODEC)
    targets, caption = targets_of(recipe, album, codec), recipe.part(CaptionEncoder, CAPTION)
    image, motion = recipe.part(CodeDenoiser, IMAGE), recipe.part(CodeDenoiser, MOTION)
    image.requires_grad_(True)
    motion.requires_grad_(True)
    run = recipe.run("denoisers_steady", learning_rate=1e-3, sample_every=100)
    learn(run, Drawing(caption, image, motion, codec), targets, recipe.many(64), noise=0.3)
    recipe.keep(image, IMAGE)
    recipe.keep(motion, MOTION)


@dataclass(frozen=True)
class Drawing:
    """The parts that learn together, and the codec that shows what they draw."""

    caption: CaptionEncoder
    image: CodeDenoiser
    motion: CodeDenoiser
    codec: ImageCodec


def learn(run: Run, drawing: Drawing, targets: Targets, count: int, noise: float = 0.0) -> None:
    """Train what is trainable, with noise on the conditions, and keep a contact sheet."""
    caption, image, motion = drawing.caption, drawing.image, drawing.motion

    def step(_: int) -> Tensor:
        captions, stills, moves = targets.batch(count)
        condition = caption.encode(captions)
        condition = condition + noise * torch.randn_like(condition)
        return image.loss(stills, condition) + 0.2 * motion.loss(moves, condition[-len(moves) :])

    def sample() -> Sheet:
        told = [world.caption(scene) for scene in world.scenes()[::31][:96]]
        condition = caption.encode(told)
        seeds = [torch.Generator().manual_seed(seed) for seed in range(len(told))]
        codes = image.generate(condition, seeds, Sampling())
        drawn = zip(drawing.codec.decode(codes), told, strict=True)
        return Sheet(f"{len(told)} captions drawn", [Cell(*pair) for pair in drawn], columns=12)

    train(run, nn.ModuleList([caption, image, motion]), step, sample)


def remember(denoiser: CodeDenoiser, stills: Tensor) -> None:
    """Give a denoiser the codes of all pictures; the backdrop, which is the last code, stays open."""
    if denoiser.memory is not None:
        told = torch.arange(stills.shape[1]) < stills.shape[1] - 1
        denoiser.memory.remember(denoiser.quantiser.digits(stills), told)


def targets_of(recipe: Recipe, album: Album, codec: ImageCodec) -> Targets:
    """Encode every known picture, and each motion at some strengths."""
    mixture = Mixture(album)
    stills = canonical_codes(codec, mixture)
    motion = recipe.part(MotionCodec, "motion_codec")
    maps = [[videos.motion_poses(name, float(strength)) for strength in STRENGTHS] for name in world.MOTIONS]
    clips = [motion.encode_poses(videos.relative_poses(torch.stack(poses))) for poses in maps]
    return Targets(stills, torch.stack(clips), mixture.place_of_known, SceneDraws.open(), album)


def spoken(scene: world.Scene) -> str:
    """The canonical caption; half of the time, a white background goes without saying."""
    said = world.caption(scene)
    bare = scene.colour == "white" and bool(torch.rand(()) < 0.5)
    return said.removesuffix(" on a white background") if bare else said
