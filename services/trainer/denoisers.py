"""Recipe of what draws: caption -> condition -> codes of a picture, and of its motion when it has one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor, nn

from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.image_codec import ImageCodec, with_backdrop
from anygpt_models.image_pipeline import to_uint8
from anygpt_models.motion import FRAMES
from anygpt_models.video_codec import MotionCodec
from services.trainer.data import videos, world
from services.trainer.data.mixture import Mixture, palette
from services.trainer.data.scenes import Album
from services.trainer.image_codec import PART as CODEC
from services.trainer.image_codec import canonical_codes
from services.trainer.loop import Run, train
from services.trainer.recipe import Recipe

CAPTION, IMAGE, MOTION = "image_caption", "image_denoiser", "video_denoiser"
VARIANTS = 3
STRENGTHS = (0.9, 0.95, 1.0, 1.05, 1.1)
Choice = TypeVar("Choice")


@dataclass(frozen=True)
class Targets:
    """Codes of stills [pictures, 32] and of motions [motions, clips, 24]; pictures of each kind."""

    stills: Tensor
    motions: Tensor
    rows: list[list[int]]

    def batch(self, count: int) -> tuple[list[world.Scene], Tensor, Tensor]:
        """Random scenes, of which the second half moves; image codes of all, motion codes of the moving ones."""
        kinds, colours, motions = world.kinds(), list(world.COLOURS), list(world.MOTIONS)
        kind, colour = torch.randint(len(kinds), (count,)), torch.randint(len(colours), (count,))
        motion = torch.randint(len(motions), (count - count // 2,))
        rows = torch.tensor([_any(self.rows[index]) for index in kind.tolist()])
        moves = [""] * (count // 2) + [motions[index] for index in motion.tolist()]
        scenes = [world.Scene(kinds[k], colours[c], m) for k, c, m in zip(kind, colour, moves, strict=True)]
        clips = torch.randint(self.motions.shape[1], motion.shape)
        return scenes, with_backdrop(self.stills[rows], palette()[colour]), self.motions[motion, clips]


def run_denoiser(recipe: Recipe) -> None:
    """Learn to draw every scene of the world from its caption; one caption encoder serves stills and clips."""
    album, codec = Album.open(recipe.cache), recipe.part(ImageCodec, CODEC)
    targets, caption = targets_of(recipe, album, codec), recipe.build(CaptionEncoder, CAPTION, direct=True)
    image = recipe.build(CodeDenoiser, IMAGE, width=160, direct=True, slots=len(targets.stills))
    remember(image, targets.stills)
    motion = recipe.build(CodeDenoiser, MOTION, length=FRAMES, width=96, depth=2, direct=True)
    run = recipe.run("denoisers", learning_rate=2e-3, warmup=100, sample_every=250)
    learn(run, Drawing(caption, image, motion, codec), targets)
    for name, part in ((CAPTION, caption), (IMAGE, image), (MOTION, motion)):
        recipe.keep(part, name)


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
    learn(run, Drawing(caption, image, motion, codec), targets, noise=0.3)
    recipe.keep(image, IMAGE)
    recipe.keep(motion, MOTION)


@dataclass(frozen=True)
class Drawing:
    """The parts that learn together, and the codec that shows what they draw."""

    caption: CaptionEncoder
    image: CodeDenoiser
    motion: CodeDenoiser
    codec: ImageCodec


def learn(run: Run, drawing: Drawing, targets: Targets, noise: float = 0.0) -> None:
    """Train what is trainable, with noise on the conditions, and keep a contact sheet."""
    caption, image, motion = drawing.caption, drawing.image, drawing.motion

    def step(_: int) -> Tensor:
        scenes, stills, moves = targets.batch(64)
        condition = caption.encode([spoken(scene) for scene in scenes])
        condition = condition + noise * torch.randn_like(condition)
        return image.loss(stills, condition) + 0.2 * motion.loss(moves, condition[-len(moves) :])

    def sample(_: int) -> None:
        scenes = world.scenes()[::31][:96]
        condition = caption.encode([world.caption(scene) for scene in scenes])
        seeds = [torch.Generator().manual_seed(seed) for seed in range(len(scenes))]
        codes = image.generate(condition, seeds, Sampling())
        contact_sheet(drawing.codec.decode(codes), run.folder / "sheet.png", columns=16)

    train(run, nn.ModuleList([caption, image, motion]), step, sample)
    sample(run.steps)


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
    place = {row: index for index, row in enumerate(mixture.known.tolist())}
    rows = [[place[row] for row in album.rows[kind][:VARIANTS]] for kind in world.kinds()]
    return Targets(stills, torch.stack(clips), rows)


def spoken(scene: world.Scene) -> str:
    """The canonical caption; half of the time, a white background goes without saying."""
    said = world.caption(scene)
    bare = scene.colour == "white" and bool(torch.rand(()) < 0.5)
    return said.removesuffix(" on a white background") if bare else said


def contact_sheet(pixels: Tensor, path: Path, columns: int) -> None:
    """Pictures [N, 3, H, W] in -1..1 as one PNG."""
    rows = [torch.cat(list(row), dim=2) for row in pixels.split(columns) if len(row) == columns]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_uint8(torch.cat(rows, dim=1))).save(path)


def _any(choices: list[Choice]) -> Choice:
    return choices[int(torch.randint(len(choices), ()))]
