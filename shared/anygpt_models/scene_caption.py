"""Captions of scenes: one to three things, each at a place, before one backdrop."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import torch

from anygpt_models.layout import MOST_THINGS, PLACES, SIZES, TINTS, Layout

_SCENE = re.compile(r"(?P<things>.+?)(?: on an? (?P<colour>\w+) background)?", re.IGNORECASE)
_THING = re.compile(
    rf"(?:an? |the )?(?P<words>.+?) (?P<place>{'|'.join(sorted(PLACES, key=len, reverse=True))})",
    re.IGNORECASE,
)
_BETWEEN = re.compile(r", and |, | and ", re.IGNORECASE)


@dataclass(frozen=True)
class SceneCaption:
    """Things in words and at places of `PLACES`, and the colour of the backdrop, empty where it is not said."""

    things: tuple[tuple[str, str], ...]
    colour: str

    @classmethod
    def parse(cls, text: str) -> SceneCaption | None:
        """Such as `a small red cat at the top left and a dog in the middle on a blue background`.

        None where something has no place or there are more than three.
        """
        said = _SCENE.fullmatch(text.strip().rstrip("."))
        found = [_THING.fullmatch(thing) for thing in _BETWEEN.split(said["things"])] if said else []
        things = tuple((one["words"], one["place"].lower()) for one in found if one)
        if not said or not 0 < len(things) == len(found) <= MOST_THINGS:
            return None
        return cls(things, said["colour"] or "")

    def alone(self) -> list[str]:
        """The caption of each thing, neither dyed nor placed, before the backdrop."""
        ground = f" on a {self.colour} background" if self.colour else ""
        return [f"a {looks(words)[2]}{ground}" for words, _ in self.things]

    def layout(self) -> Layout:
        """Where the things stand, how large, in which tint [3]."""
        places, sizes, tints = list(PLACES), list(SIZES), ["", *TINTS]
        rows = [(0, 0, 0, 0)] * MOST_THINGS
        for number, (words, place) in enumerate(self.things):
            size, tint, _ = looks(words)
            rows[number] = (places.index(place), sizes.index(size), tints.index(tint), 1)
        place, size, tint, there = torch.tensor(rows).T
        return Layout(place, size, tint, there > 0)


def looks(words: str) -> tuple[str, str, str]:
    """Size (middle: empty), tint (none: empty) and the rest of a thing's words, which is never empty."""
    size, rest = _first(words, SIZES)
    tint, rest = _first(rest, TINTS)
    return size, tint, rest


def _first(words: str, known: Collection[str]) -> tuple[str, str]:
    first, _, rest = words.partition(" ")
    return (first.lower(), rest) if rest and first.lower() in known else ("", words)
