"""Words for scenes of several things, as people ask for them and about them."""

from __future__ import annotations

import random
from dataclasses import replace

from anygpt_models.layout import PLACES
from services.trainer.data import composed, ideas
from services.trainer.data.composed import Composition, Thing, bare
from services.trainer.data.world import with_article

SIZE_WORDS = {
    "small": ("small", "small", "little", "tiny"),
    "": ("",),
    "large": ("large", "large", "big", "huge"),
}
PLACE_WORDS = {
    "at the top left": ("at the top left", "in the top left corner", "in the upper left"),
    "at the top": ("at the top", "at the top", "above"),
    "at the top right": ("at the top right", "in the top right corner", "in the upper right"),
    "at the left": ("at the left", "on the left", "on the left side"),
    "in the middle": ("in the middle", "in the centre", "in the center"),
    "at the right": ("at the right", "on the right", "on the right side"),
    "at the bottom left": ("at the bottom left", "in the bottom left corner", "in the lower left"),
    "at the bottom": ("at the bottom", "at the bottom", "below"),
    "at the bottom right": ("at the bottom right", "in the bottom right corner", "in the lower right"),
}
USUAL = {
    1: ("in the middle",), 2: ("at the left", "at the right"), 3: ("at the left", "in the middle", "at the right"),
}  # fmt: skip
"""Where so many things stand when nobody says where."""
COUNTS = {1: "There is one thing.", 2: "There are two things.", 3: "There are three things."}
UNPLACED = 0.4
"""Share of the requests that leave the places open."""


def drawn(pick: random.Random, held_out: bool, count: int = 0) -> tuple[Composition, bool]:
    """A scene of so many things (0: any), and whether they stand where they usually do, so that nobody says where."""
    scene = composed.draw(pick, held_out, count)
    if len(scene.things) == 1 or pick.random() >= UNPLACED:
        return scene, False
    while True:
        things = zip(scene.things, USUAL[len(scene.things)], strict=True)
        usual = replace(scene, things=tuple(replace(thing, place=place) for thing, place in things))
        if composed.is_held_out(usual) == held_out:
            return usual, True
        scene = composed.draw(pick, held_out, len(scene.things))


def request(pick: random.Random, scene: Composition, places_open: bool) -> str:
    """How somebody names a scene that should be drawn."""
    said = [_thing(pick, thing, places_open) for thing in scene.things]
    if not places_open and pick.random() < 0.2:
        pick.shuffle(said)
    if pick.random() < 0.15:
        listed = " and ".join(said)
    else:
        listed = " and ".join(filter(None, (", ".join(said[:-1]), said[-1])))
    return f"{listed}{_ground(pick, scene.colour)}"


def _thing(pick: random.Random, thing: Thing, place_open: bool) -> str:
    words = bare(replace(thing, size=pick.choice(SIZE_WORDS[thing.size])))
    if place_open:
        return words
    place = thing.place if pick.random() < 0.5 else pick.choice(PLACE_WORDS[thing.place])
    return f"{place} {words}" if pick.random() < 0.1 else f"{words} {place}"


def _ground(pick: random.Random, colour: str) -> str:
    if colour == ideas.DEFAULT_COLOUR and pick.random() < 0.8:
        return ""
    ground = with_article(colour)
    choices = (
        f" on {ground} background",
        f" on {ground} background",
        f" on {colour}",
        f" with {ground} background",
    )
    return pick.choice(choices)


def place_asked(pick: random.Random, scene: Composition) -> tuple[str, str]:
    """A place of a scene in somebody's words, and what stands there."""
    there = {thing.place: f"It is {bare(thing)}." for thing in scene.things}
    place = pick.choice(list(there) if pick.random() < 0.85 else list(PLACES))
    return pick.choice(PLACE_WORDS[place][:2]), there.get(place, "There is nothing.")
