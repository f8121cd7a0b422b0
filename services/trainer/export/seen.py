"""Pictures, clips and animations of the world, as examples: any number of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from services.trainer.data import composed, images, videos, world
from services.trainer.data.animations import PACKAGES, animations
from services.trainer.data.scenes import SLIGHT, Album
from services.trainer.data.split import is_held_out
from services.trainer.data.world import Scene
from services.trainer.evaluation.files import clip_file, picture_file
from services.trainer.export.example import DataSet, Example, Split

COMBINATIONS = "combinations, by what they show: a fifth is held out"


def _pictures(cache: Path, split: Split, pick: random.Random) -> Iterator[Example]:
    """Single things and composed scenes in turn."""
    album = Album.open(cache)
    while True:
        scene = _any_scene(pick, split, world.kinds(), [""])
        yield Example(
            "png", picture_file(album.render([scene], SLIGHT)[0]), world.caption(scene), _facts(scene),
            _stills(album, [scene.kind]),
        )  # fmt: skip
        several = composed.draw(pick, held_out=split == "held_out")
        shows = {"things": [asdict(thing) for thing in several.things], "colour": several.colour}
        yield Example(
            "png", picture_file(composed.render(album, [several])[0]), composed.caption(several), shows,
            _stills(album, [thing.kind for thing in several.things]),
        )  # fmt: skip


def _clips(cache: Path, split: Split, pick: random.Random) -> Iterator[Example]:
    """Things that move, one in seven staying where it is."""
    album = Album.open(cache)
    while True:
        scene = _any_scene(pick, split, world.kinds(), ["", *world.MOTIONS])
        frames, _ = videos.render(album, [scene], torch.tensor([pick.uniform(0.8, 1.2)]))
        yield _clip(scene, frames[0], _stills(album, [scene.kind]))


def _animations(cache: Path, split: Split, pick: random.Random) -> Iterator[Example]:
    """Animated things, likewise."""
    found = animations(cache)
    while True:
        scene = _any_scene(pick, split, list(found.rows), ["", *world.MOTIONS])
        row = pick.choice(found.rows[scene.kind])
        alive = found.played([row], [0])
        frames, _ = videos.moved(alive, [scene], torch.tensor([pick.uniform(0.8, 1.2)]))
        yield _clip(scene, frames[0], [f"{found.packages[row]}/{found.code_points[row]}.webp"])


def _clip(scene: Scene, frames: Tensor, assets: Sequence[str]) -> Example:
    data = clip_file(frames, videos.FRAMES_PER_SECOND)
    return Example("mp4", data, world.caption(scene), _facts(scene), assets)


def _any_scene(pick: random.Random, split: Split, kinds: Sequence[str], motions: Sequence[str]) -> Scene:
    while True:
        found = Scene(pick.choice(kinds), pick.choice(list(world.COLOURS)), pick.choice(motions))
        if is_held_out(found) == (split == "held_out"):
            return found


def _facts(scene: Scene) -> dict[str, Any]:
    return asdict(scene) | {"emotion": world.emotion_of(scene.kind)}


def _stills(album: Album, kinds: Sequence[str]) -> list[str]:
    """The files of the plainest pictures of some kinds."""
    points = (album.stills.code_points[album.rows[kind][0]] for kind in kinds)
    return [f"{images.STILLS.name}/{point}.webp" for point in points]


SEEN = {
    "image": DataSet(lambda _: [images.STILLS], COMBINATIONS, _pictures),
    "video": DataSet(lambda _: [images.STILLS], COMBINATIONS, _clips),
    "animation": DataSet(lambda _: PACKAGES, COMBINATIONS, _animations),
}
