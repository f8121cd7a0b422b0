"""Recipe that shows animated things to what sees: they become the same features as the still pictures of them.

The targets are the recognisers' own features of stills (distillation, arXiv 1503.02531), so that all which has learned
to read features stays right.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.video_recogniser import MotionRecogniser, VideoRecogniser
from services.trainer.animated_cast import Cast
from services.trainer.data import composed
from services.trainer.image_recogniser import PART, examples, named
from services.trainer.image_scenes import found
from services.trainer.loop import train
from services.trainer.recipe import Recipe
from services.trainer.sheet import Sheet

MOTION_PART = "motion_recogniser"
NAMING = 0.2
"""Weight of the recognisers' own classes, which stay as they are, against the distance of features."""


def run_animated(recipe: Recipe) -> None:
    """Learn to see animated things as the still pictures of them, and stills as before."""
    cast, count = Cast.open(recipe.cache), recipe.many(12)
    image, motion = recipe.part(ImageRecogniser, PART), recipe.part(MotionRecogniser, MOTION_PART)
    lesson = Lesson(cast, Sight(image, motion), Sight(copy.deepcopy(image), copy.deepcopy(motion)))
    learning = VideoRecogniser(image, motion).requires_grad_(True)
    for classes in (image.kind, image.colour, image.emotion, motion.motion):
        classes.requires_grad_(False)

    def step(_: int) -> Tensor:
        return lesson.pictures(2 * count) + lesson.clips(count)

    train(recipe.run("animated", learning_rate=5e-4, sample_every=200), learning, step, lesson.sheet)
    recipe.keep(image, PART)
    recipe.keep(motion, MOTION_PART)


@dataclass(frozen=True)
class Sight:
    """What sees pictures and what sees motions, with the classes that they name."""

    image: ImageRecogniser
    motion: MotionRecogniser

    def picture(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels -> features [B, 4, 256], and logits of the kind."""
        features = self.image.features(pixels).float()
        return features, self.image.classes(features)[0]

    def clip(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames -> features [B, 4, 256], and logits of the motion."""
        features = self.motion.features(frames).float()
        return features, self.motion.classes(features)


@dataclass(frozen=True)
class Lesson:
    """Animated things before what learns, their stills before what it was."""

    cast: Cast
    sight: Sight
    before: Sight

    def pictures(self, count: int) -> Tensor:
        """Loss on frames of animations, on the stills of the same, and on pictures and things of scenes."""
        alive, still, kinds = self.cast.frames(count)
        features, logits = self.sight.picture(torch.cat([alive, still]))
        wanted = self.before.picture(still)[0].repeat(2, 1, 1)
        scenes = composed.drawn(count // 4)
        others = torch.cat([
            examples(self.cast.album, self.cast.draws, count)[0], found(scenes, self.cast.album).windows
        ])  # fmt: skip
        kept = functional.mse_loss(self.sight.picture(others)[0], self.before.picture(others)[0])
        naming = functional.cross_entropy(logits, kinds.repeat(2))
        return functional.mse_loss(features, wanted) + kept + NAMING * naming

    def clips(self, count: int) -> Tensor:
        """Loss on animations and on stills that move alike."""
        alive, still, motions = self.cast.clips(count)
        noise = 0.1 * torch.rand(count, 1, 1, 1, 1) * torch.randn_like(alive)
        features, logits = self.sight.clip(torch.cat([alive + noise, still]))
        wanted = self.before.clip(still)[0].repeat(2, 1, 1)
        naming = functional.cross_entropy(logits, motions.repeat(2))
        return functional.mse_loss(features, wanted) + NAMING * naming

    def sheet(self) -> Sheet:
        """How far features of animations are from those of stills and how many are named, and were before."""
        seen = self.cast.frames(200)
        frames = _compared(self.sight.picture, self.before.picture, *seen)
        clips = _compared(self.sight.clip, self.before.clip, *self.cast.clips(70))
        return Sheet(f"frames {frames}; clips {clips}", named(seen[0][:32], self.sight.image))


Look = Callable[[Tensor], tuple[Tensor, Tensor]]


def _compared(now: Look, before: Look, alive: Tensor, still: Tensor, classes: Tensor) -> str:
    wanted = before(still)[0]
    told = []
    for look in (now, before):
        features, logits = look(alive)
        right = float((logits.argmax(1) == classes).float().mean())
        told.append(f"{float(functional.mse_loss(features, wanted)):.3f} off, {right:.3f} right")
    return f"{told[0]} (before: {told[1]})"
