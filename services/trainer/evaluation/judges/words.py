"""What a text names, read by the words of the world alone; nothing here is learned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache

from services.trainer.data import world
from services.trainer.data.wording import MOVING, VERBS

UNSAID = ""
"""Nothing was named, or more than one."""
_COLOUR = "|".join(world.COLOURS)
_GROUND = re.compile(rf"\b({_COLOUR})\b(?= (?:background|backdrop|wall)\b)|(?<=background is )({_COLOUR})\b")
"""The colour of a background where it is called one."""


def kind(text: str) -> str:
    """The one thing that a text names; a longer name goes before one inside it."""
    return _one(_GROUND.sub(" ", text.lower()), _kinds())


def colour(text: str) -> str:
    """The one background colour: an orange is a thing, but not before the word background."""
    grounds = {before or after for before, after in _GROUND.findall(text.lower())}
    if grounds:
        return grounds.pop() if len(grounds) == 1 else UNSAID
    without_kinds = _without(text, [name for name in world.kinds() if " " in name and _has_colour(name)])
    return _one(without_kinds, {name: name for name in world.COLOURS})


def motion(text: str) -> str:
    """The one motion, in any of the words for it."""
    words = {
        word: name for name, forms in MOVING.items() for word in (*forms, world.MOTIONS[name], VERBS[name])
    }
    return _one(text, words)


def emotion(text: str) -> str:
    """The one emotion."""
    return _one(text, {name: name for name in world.EMOTIONS})


def instrument(text: str) -> str:
    """The one instrument."""
    return _one(text, {name: name for name in world.INSTRUMENTS})


def mood(text: str) -> str:
    """The one mood."""
    return _one(text, {name: name for name in world.MOODS})


def sound(text: str) -> str:
    """The one sound, by the last word of its caption."""
    return _one(text, {world.sound_caption(name).split()[-1]: name for name in world.SOUNDS})


def _one(text: str, names: Mapping[str, str]) -> str:
    found: set[str] = set()
    for name in sorted(names, key=len, reverse=True):
        if _said(name, text):
            found.add(names[name])
            text = _without(text, [name])
    return found.pop() if len(found) == 1 else UNSAID


def _said(name: str, text: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text.lower()) is not None


def _without(text: str, names: Iterable[str]) -> str:
    for name in names:
        text = re.sub(rf"\b{re.escape(name)}\b", " ", text.lower())
    return text


def _has_colour(name: str) -> bool:
    return any(word in world.COLOURS for word in name.split())


@cache
def _kinds() -> Mapping[str, str]:
    return {name: name for name in world.kinds()}
