"""Captions of scenes: one to three things, each at a place, before one backdrop."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from anygpt_models.layout import MOST_THINGS, PLACES, SIZES, TINTS, Layout

_SCENE = re.compile(r"(?P<things>.+?)(?: on an? (?P<colour>\w+) background)?", re.IGNORECASE)
_THING = re.compile(
    rf"(?:an? |the )?(?P<words>.+?) (?P<place>{'|'.join(sorted(PLACES, key=len, reverse=True))})",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r", and |, | and ", re.IGNORECASE)


@dataclass(frozen=True)
class ToldThing:
    """A thing by its name, its size (middle: empty), its tint (none: empty) and its place."""

    name: str
    size: str
    tint: str
    place: str


@dataclass(frozen=True)
class SceneCaption:
    """What is told of each thing, and the colour of the backdrop, empty where it is not said."""

    things: tuple[ToldThing, ...]
    colour: str

    @classmethod
    def parse(cls, text: str) -> SceneCaption | None:
        """Such as `a small red cat at the top left and a dog in the middle on a blue background`.

        None where something has no place or there are more than three.
        """
        said = _SCENE.fullmatch(text.strip().rstrip("."))
        found = [_THING.fullmatch(thing) for thing in _BETWEEN.split(said["things"])] if said else []
        things = tuple(_thing(one["words"], one["place"].lower()) for one in found if one)
        if not said or not 0 < len(things) == len(found) <= MOST_THINGS:
            return None
        return cls(things, said["colour"] or "")

    def alone(self) -> list[str]:
        """The caption of each thing, neither dyed nor placed, before the backdrop."""
        ground = f" on a {self.colour} background" if self.colour else ""
        return [f"a {thing.name}{ground}" for thing in self.things]

    def layout(self) -> Layout:
        """Where the things stand, how large, in which tint [3]."""
        told = [(thing.place, thing.size, thing.tint) for thing in self.things]
        return Layout.told([*told, *[None] * (MOST_THINGS - len(told))])


def _thing(words: str, place: str) -> ToldThing:
    size, rest = _first(words, SIZES)
    tint, name = _first(rest, TINTS)
    return ToldThing(name, size, tint, place)


def _first(words: str, known: Collection[str]) -> tuple[str, str]:
    """The first word where it is known and not the only one, and the rest."""
    first, _, rest = words.partition(" ")
    return (first.lower(), rest) if rest and first.lower() in known else ("", words)
