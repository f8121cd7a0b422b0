"""Recipe of what sees scenes: each thing, small and dyed as it may be, becomes the features of its picture alone.

The targets are the recogniser's own features of plain pictures (distillation, arXiv 1503.02531), so that all which has
learned to read features stays right.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.composition import alone, standing
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.layout import MOST_THINGS, Layout
from anygpt_models.scene_recogniser import LayoutRecogniser
from services.trainer.animated_cast import Cast
from services.trainer.data import composed, world
from services.trainer.data.animations import are_there
from services.trainer.data.composed import Composition
from services.trainer.data.draws import SceneDraws
from services.trainer.data.scenes import SLIGHT, Album
from services.trainer.image_recogniser import PART, examples, softened
from services.trainer.loop import train
from services.trainer.pack import SCENES
from services.trainer.recipe import Recipe, channels_last
from services.trainer.sheet import Cell, Sheet

NAMING = 0.2
"""Weight of kinds against the distance of features."""


def run_scenes(recipe: Recipe) -> None:
    """Learn to see the things of scenes as their pictures alone, how large they are and in which colour."""
    album, count = Album.open(recipe.cache), recipe.many(12)
    # What has seen animations goes on seeing them; a machine that has none has not learned them yet.
    cast = Cast.open(recipe.cache) if are_there(recipe.cache) else None
    image = channels_last(recipe.part(ImageRecogniser, PART))
    layout = recipe.build(LayoutRecogniser, SCENES)
    lesson = Lesson(album, cast, image, copy.deepcopy(image), layout)
    image.requires_grad_(True)
    for classes in (image.kind, image.colour, image.emotion):
        classes.requires_grad_(False)

    def step(_: int) -> Tensor:
        return lesson.scenes(count) + lesson.others(2 * count)

    run = recipe.run("image_scenes", learning_rate=1e-3, warmup=50, sample_every=200)
    train(run, nn.ModuleList([image, layout]), step, lesson.sheet)
    recipe.keep(image, PART)
    recipe.keep(layout, SCENES)


@dataclass(frozen=True)
class Things:
    """Things of scenes as they were found: windows [N, 3, 128, 128], poses [N, 3], and what they are."""

    windows: Tensor
    poses: Tensor
    plain: Tensor
    """Their pictures alone, undyed, before the same backdrops."""
    kinds: Tensor
    layout: Layout


@dataclass(frozen=True)
class Lesson:
    """Things of scenes before what learns, their plain pictures before what it was."""

    album: Album
    cast: Cast | None
    image: ImageRecogniser
    before: ImageRecogniser
    layout: LayoutRecogniser

    def scenes(self, count: int) -> Tensor:
        """Loss on the things of scenes."""
        things = found(composed.drawn(count), self.album)
        features = self.image.features(things.windows).float()
        naming = functional.cross_entropy(self.image.classes(features)[0], things.kinds)
        # What is said of sizes and tints has no say in what the features are.
        sizes, tints = self.layout(features.detach(), things.windows, things.poses)
        placing = functional.cross_entropy(sizes, things.layout.sizes)
        placing = placing + functional.cross_entropy(tints, things.layout.tints)
        wanted = self.before.features(things.plain).float()
        return functional.mse_loss(features, wanted) + NAMING * naming + placing

    def others(self, count: int) -> Tensor:
        """Distance from what it was on single pictures, and on frames of animations."""
        pixels = examples(self.album, SceneDraws.open(), count)[0]
        if self.cast:
            pixels = torch.cat([pixels, self.cast.frames(count // 2)[0]])
        return functional.mse_loss(self.image.features(pixels).float(), self.before.features(pixels).float())

    def sheet(self) -> Sheet:
        """How many things of new scenes are named, and in which size and tint; what they are taken for."""
        pick = random.Random(1)
        things = found([composed.draw(pick, held_out=True) for _ in range(100)], self.album)
        features = self.image.features(things.windows)
        kinds = self.image.classes(features)[0].argmax(1)
        layout = self.layout.layout(features, things.windows, things.poses)
        before = self.before.classes(self.before.features(things.windows))[0].argmax(1)
        true = things.layout
        pairs = {
            "kinds": (kinds, things.kinds), "before": (before, things.kinds), "places": (layout.places, true.places),
            "sizes": (layout.sizes, true.sizes), "tints": (layout.tints, true.tints),
        }  # fmt: skip
        told = ", ".join(f"{name} {float((a == b).float().mean()):.3f}" for name, (a, b) in pairs.items())
        names = [world.kinds()[kind] for kind in kinds.tolist()]
        return Sheet(
            f"right in held-out scenes: {told}",
            [Cell(*pair) for pair in zip(things.windows[:32], names, strict=False)],
        )


def found(scenes: list[Composition], album: Album) -> Things:
    """The things of scenes, as they are found in pictures that went through a file; not of a scene where one is not."""
    pixels = softened(composed.render(album, scenes))
    poses = standing(pixels, MOST_THINGS)
    count = (poses[..., 2] > 0).sum(1)
    whole = [row for row, scene in enumerate(scenes) if len(scene.things) == int(count[row])]
    there = poses[whole][..., 2] > 0
    windows = alone(pixels[whole], poses[whole])[there.flatten()]
    things = [thing for row in whole for thing in scenes[row].things]
    stills = [world.Scene(thing.kind, scenes[row].colour) for row in whole for thing in scenes[row].things]
    kinds = torch.tensor([world.kinds().index(thing.kind) for thing in things])
    return Things(
        windows, poses[whole][there], album.render(stills, SLIGHT), kinds, composed.numbered(things)
    )
