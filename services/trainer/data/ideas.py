"""What a part is about, whatever its modality, and what another modality makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from services.trainer.data import composed, world
from services.trainer.data.composed import Composition
from services.trainer.data.world import Scene

DEFAULT_COLOUR = "white"
DEFAULT_MOTION = "bounce"
DEFAULT_INSTRUMENT = "piano"
DEFAULT_MOOD = "happy"


@dataclass(frozen=True)
class Music:
    """A piece for one instrument."""

    instrument: str
    mood: str


@dataclass(frozen=True)
class Sound:
    """One of the world's sounds."""

    name: str


Idea = Scene | Composition | Music | Sound

_SOUND_OF: Mapping[str, str] = {
    "rain cloud": "rain", "thunderstorm": "rain", "umbrella": "rain", "bell": "bell", "ambulance": "siren",
    "police car": "siren", "fire engine": "siren", "door": "knock", "wave": "wave", "ship": "wave",
    "tornado": "wind", "kite": "wind", "alarm clock": "clock", "watch": "clock", "robot": "beep",
}  # fmt: skip
_PICTURE_OF: Mapping[str, str] = {
    "rain": "rain cloud", "bell": "bell", "siren": "ambulance", "beep": "robot", "knock": "door",
    "wave": "wave", "wind": "tornado", "clock": "alarm clock",
}  # fmt: skip
_FACE_OF: Mapping[str, str] = {
    "happy": "happy face",
    "sad": "sad face",
    "calm": "calm face",
    "tense": "scared face",
}


def caption(idea: Idea) -> str:
    """The canonical caption."""
    match idea:
        case Scene():
            return world.caption(idea)
        case Composition():
            return composed.caption(idea)
        case Music(instrument, mood):
            return world.music_caption(instrument, mood)
        case Sound(name):
            return world.sound_caption(name)


def as_still(idea: Idea) -> Scene:
    """The picture of one thing: music shows its instrument, or a note where there is no picture of it."""
    match idea:
        case Scene():
            return replace(idea, motion="")
        case Composition(things, colour):
            return Scene(things[0].kind, colour)
        case Music(instrument, _):
            return Scene(instrument if instrument in world.OBJECTS else "musical note", DEFAULT_COLOUR)
        case Sound(name):
            return Scene(_PICTURE_OF[name], DEFAULT_COLOUR)


def as_moving(idea: Idea, motion: str = "") -> Scene:
    """The video of an idea."""
    own = idea.motion if isinstance(idea, Scene) else ""
    return replace(as_still(idea), motion=motion or own or DEFAULT_MOTION)


def as_audio(idea: Idea) -> Music | Sound:
    """The music or sound of an idea: a face gives its mood, an instrument plays, a bell rings."""
    if isinstance(idea, Music | Sound):
        return idea
    idea = as_still(idea)
    if idea.kind in _SOUND_OF:
        return Sound(_SOUND_OF[idea.kind])
    mood = world.MOOD_OF_EMOTION.get(world.emotion_of(idea.kind), DEFAULT_MOOD)
    return Music(idea.kind if idea.kind in world.INSTRUMENTS else DEFAULT_INSTRUMENT, mood)


def face_of(mood: str, colour: str = DEFAULT_COLOUR) -> Scene:
    """The face that shows the mood of music."""
    return Scene(_FACE_OF[mood], colour)


@cache
def by_caption() -> dict[str, Idea]:
    """Every idea of the world under its canonical caption, but for composed scenes, of which there are too many."""
    music = [Music(instrument, mood) for instrument in world.INSTRUMENTS for mood in world.MOODS]
    sounds = [Sound(name) for name in world.SOUNDS]
    everything: tuple[Idea, ...] = (*world.scenes(), *world.moving_scenes(), *music, *sounds)
    return {caption(idea): idea for idea in everything}


def meaning(caption: str) -> Idea:
    """The idea that a canonical caption names. Raises ValueError for any other text."""
    known = by_caption().get(caption)
    return composed.parse(caption) if known is None else known
