"""What a reply shows, attribute by attribute, by judges that share no weights with any pack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from anygpt.vocabulary import ModalityName
from services.trainer import judge_audio
from services.trainer.data import world
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.evaluation.files import read_clip, read_picture, read_sound
from services.trainer.evaluation.judges import colour, motion, words
from services.trainer.evaluation.judges.objects import ObjectJudge, object_judge
from services.trainer.evaluation.judges.timbre import TimbreJudge
from services.trainer.judge_speech import Judge

FAST_BEATS = 100
CHANCES: Mapping[str, int] = {
    "kind": len(world.kinds()), "colour": len(world.COLOURS), "motion": len(world.MOTIONS),
    "emotion": len(world.EMOTIONS), "instrument": len(world.INSTRUMENTS), "mood": len(world.MOODS),
    "tempo": 2, "mode": 2, "sound": len(world.SOUNDS),
}  # fmt: skip
"""Values that an attribute can have."""


@dataclass(frozen=True)
class Reply:
    """One answer: its words, the modalities of its spans in order, the first file of each, and how they ended."""

    text: str = ""
    modalities: tuple[str, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    cut: tuple[bool, ...] = ()
    """For each span, whether a limit ended it."""
    failure: str = ""


def truth(idea: Idea, attribute: str) -> str:
    """What an idea has of an attribute."""
    match idea:
        case Scene() if attribute == "emotion":
            return world.emotion_of(idea.kind)
        case Music() if attribute == "tempo":
            return "fast" if world.MOODS[idea.mood][1] > FAST_BEATS else "slow"
        case Music() if attribute == "mode":
            return world.MOODS[idea.mood][0]
        case Sound():
            return idea.name
    return str(getattr(idea, attribute))


Scene = world.Scene


@dataclass(frozen=True)
class Judges:
    """All judges, each made when it is needed."""

    cache: Path

    @cached_property
    def objects(self) -> ObjectJudge:
        """Of things in pictures."""
        return object_judge(self.cache)

    @cached_property
    def scene_objects(self) -> ObjectJudge:
        """Of things in pictures of several."""
        return object_judge(self.cache, in_scenes=True)

    @cached_property
    def timbre(self) -> TimbreJudge:
        """Of instruments and sounds."""
        return TimbreJudge.fitted(self.cache)

    @cached_property
    def listener(self) -> Judge:
        """Of speech."""
        return Judge()

    def read(self, reply: Reply, modality: ModalityName, attribute: str) -> str:
        """What a reply shows of an attribute in one modality; empty where that is missing."""
        if modality == "text":
            return _WORDS[attribute](reply.text)
        data = reply.files.get(modality)
        if data is None:
            return words.UNSAID
        if modality == "speech":
            return _WORDS[attribute](self.listener.hear(read_sound(data)))
        if modality == "audio":
            return self._heard(data, attribute)
        return self._seen(data, modality, attribute)

    def _seen(self, data: bytes, modality: ModalityName, attribute: str) -> str:
        if modality == "image":
            pixels = read_picture(data)
        else:
            frames = read_clip(data)
            if attribute == "motion":
                return motion.motion(frames)
            pixels = frames[len(frames) // 2]
        if attribute == "colour":
            return colour.colour(pixels)
        kind = self.objects.name(pixels)
        return world.emotion_of(kind) if attribute == "emotion" else kind

    def _heard(self, data: bytes, attribute: str) -> str:
        wave = read_sound(data)
        if attribute in ("instrument", "sound"):
            return self.timbre.name(wave, sounds=attribute == "sound")
        if attribute == "tempo":
            return judge_audio.tempo(wave)
        if attribute == "mode":
            return judge_audio.mode(wave)
        moods = {(mode, beats > FAST_BEATS): mood for mood, (mode, beats) in world.MOODS.items()}
        return moods[judge_audio.mode(wave), judge_audio.tempo(wave) == "fast"]


def _tempo(text: str) -> str:
    mood = words.mood(text)
    return ("fast" if world.MOODS[mood][1] > FAST_BEATS else "slow") if mood else words.UNSAID


def _mode(text: str) -> str:
    mood = words.mood(text)
    return world.MOODS[mood][0] if mood else words.UNSAID


_WORDS: Mapping[str, Callable[[str], str]] = {
    "kind": words.kind, "colour": words.colour, "motion": words.motion, "emotion": words.emotion,
    "instrument": words.instrument, "mood": words.mood, "tempo": _tempo, "mode": _mode, "sound": words.sound,
}  # fmt: skip
