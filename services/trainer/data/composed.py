"""Composed scenes: one to three things, each with a size, a place and perhaps a colour, before one backdrop.

The single things of `world.Scene` are the canonical part of the world; this is what is added to it. Held out by
combination: a fifth of all things with their size, place and tint, and of all with their backdrop, is in no scene of
training.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.layout import MOST_THINGS, PLACES, SIZES, TINTS, Layout, dyed
from anygpt_models.scene_caption import SceneCaption, ToldThing
from services.trainer.data import world
from services.trainer.data.scenes import Album, backgrounds, placement, posed
from services.trainer.data.world import with_article

_EVERY = 5


@dataclass(frozen=True)
class Thing:
    """A kind in a size (middle: empty), at a place, dyed in a colour or (empty) as it is."""

    kind: str
    size: str
    place: str
    tint: str = ""


@dataclass(frozen=True)
class Composition:
    """Things in reading order, no two at one place, before a backdrop."""

    things: tuple[Thing, ...]
    colour: str


def caption(scene: Composition) -> str:
    """Such as `a small red cat at the top left, a dog in the middle and a bell at the right on a blue background`."""
    told = [_told(thing) for thing in scene.things]
    listed = " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
    return f"{listed} on {with_article(scene.colour)} background"


def parse(text: str) -> Composition:
    """The inverse of `caption`. Raises ValueError for any other text."""
    told = SceneCaption.parse(text)
    if told is None or told.colour not in world.COLOURS:
        raise ValueError(f"no composed scene: {text!r}")
    scene = Composition(tuple(_thing(thing) for thing in told.things), told.colour)
    if caption(scene) != text:
        raise ValueError(f"no canonical caption of a scene: {text!r}")
    return scene


def alone(thing: Thing, colour: str) -> str:
    """The caption of a thing undyed in a picture of its own."""
    return world.caption(world.Scene(thing.kind, colour))


def each_alone(scene: Composition) -> list[str]:
    """The captions of its things, each undyed in a picture of its own."""
    return [alone(thing, scene.colour) for thing in scene.things]


def is_held_out(scene: Composition) -> bool:
    """Whether any of its things is kept for judging: with its size, place and tint, or alone before such a backdrop."""
    told = [words for thing in scene.things for words in (_told(thing), alone(thing, scene.colour))]
    return any(zlib.crc32(words.encode()) % _EVERY == 0 for words in told)


def draw(pick: random.Random, held_out: bool = False, count: int = 0) -> Composition:
    """A random scene of so many things, one to three, of training or with at least one thing that is held out."""
    count = count or pick.randint(1, MOST_THINGS)
    while True:
        places = sorted(pick.sample(range(len(PLACES)), count))
        things = tuple(_any_thing(pick, list(PLACES)[place]) for place in places)
        # A thing of its backdrop's colour would not be seen.
        tints = {thing.tint for thing in things}
        scene = Composition(things, pick.choice([colour for colour in world.COLOURS if colour not in tints]))
        if is_held_out(scene) == held_out:
            return scene


def drawn(count: int) -> list[Composition]:
    """Random scenes of training by torch's generator, which a checkpoint holds."""
    pick = random.Random(int(torch.randint(2**31, ())))
    return [draw(pick) for _ in range(count)]


def render(album: Album, scenes: list[Composition]) -> Tensor:
    """Pixels [B, 3, 128, 128] in -1..1; a kind of several pictures shows its plainest."""
    picture = backgrounds([scene.colour for scene in scenes])[:, :, None, None]
    for number in range(MOST_THINGS):
        things = [scene.things[number] if number < len(scene.things) else None for scene in scenes]
        layer = _layer(album, things)
        picture = picture * (1 - layer[:, 3:]) + layer[:, :3]
    return picture * 2 - 1


def numbered(things: Sequence[Thing | None]) -> Layout:
    """Places, sizes and tints as numbers; of no thing the first of each."""
    return Layout.told([(thing.place, thing.size, thing.tint) if thing else None for thing in things])


def _layer(album: Album, things: list[Thing | None]) -> Tensor:
    """One thing of each scene in its pose, premultiplied [B, 4, 128, 128]; nothing where there is none."""
    shown = [thing or Thing(world.kinds()[0], "", "in the middle") for thing in things]
    rgba = album.rgba(torch.tensor([album.rows[thing.kind][0] for thing in shown]))
    layout = numbered(shown)
    rgba = functional.interpolate(dyed(rgba, layout.tints), (64, 64), mode="area")
    *shift, zoom = layout.poses().unbind(1)
    zero, there = torch.zeros(len(shown)), torch.tensor([float(thing is not None) for thing in things])
    matrix = placement(torch.stack(shift), zoom, zero, zero + 1)
    return posed(rgba, matrix, size=128) * there[:, None, None, None]


def _any_thing(pick: random.Random, place: str) -> Thing:
    kind, size = pick.choice(world.kinds()), pick.choice(list(SIZES))
    tint = pick.choice(list(TINTS)) if pick.random() < 0.4 and world.emotion_of(kind) == "" else ""
    # A green-dyed apple would bear the name of another thing.
    return Thing(kind, size, place, "" if f"{tint} {kind}" in world.OBJECTS else tint)


def bare(thing: Thing) -> str:
    """A thing without its place, such as `a small red cat`."""
    words = " ".join(filter(None, (thing.size, thing.tint, thing.kind)))
    return words if with_article(thing.kind) == thing.kind else with_article(words)


def _told(thing: Thing) -> str:
    return f"{bare(thing)} {thing.place}"


def _thing(told: ToldThing) -> Thing:
    whole = f"{told.tint} {told.name}"
    kind, tint = (whole, "") if whole in world.kinds() else (told.name, told.tint)
    if kind not in world.kinds():
        raise ValueError(f"no thing of the world: {told.name!r}")
    return Thing(kind, told.size, told.place, tint)
