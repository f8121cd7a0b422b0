"""Messages and dialogues as what they are about: words, and captions of media."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from anygpt.vocabulary import ModalityName
from anygpt_models.speech_text import spoken as spoken_form
from services.trainer.data import ideas
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Idea
from services.trainer.data.world import Scene

MEDIA: tuple[ModalityName, ...] = ("image", "video", "audio")
ANNOUNCED: tuple[ModalityName, ...] = ("image", "video")
"""The model says what it will draw even where nobody hears it (`OutputEntry.announced`): signals then say it too."""


class Part(NamedTuple):
    """A piece of a message: text and speech hold their words, media their canonical caption."""

    modality: ModalityName
    content: str


class Turn(NamedTuple):
    """A request and its answer."""

    request: tuple[Part, ...]
    answer: tuple[Part, ...]


@dataclass(frozen=True)
class Dialogue:
    """Turns of which the last is learned; `forced`: the client's choice opens its spans, and no text is learned."""

    family: str
    turns: tuple[Turn, ...]
    forced: bool = False
    whole: bool = True

    @property
    def pairs(self) -> set[tuple[ModalityName, ModalityName]]:
        """Ordered pairs of modalities that the last turn goes through."""
        request, answer = self.turns[-1]
        return {(into.modality, out.modality) for into in request for out in answer}


def spoken(text: str) -> Part:
    """Words as speech."""
    return Part("speech", spoken_form(text))


def media(idea: Idea) -> Part:
    """An idea in its own modality."""
    match idea:
        case Scene() if idea.motion:
            return Part("video", ideas.caption(idea))
        case Scene() | Composition():
            return Part("image", ideas.caption(idea))
        case _:
            return Part("audio", ideas.caption(idea))


def named(idea: Idea) -> Part:
    """The caption of what was shown."""
    return Part("text", f"This is {ideas.caption(idea)}.")


def announced(*wanted: Idea) -> tuple[Part, ...]:
    """A sentence that names what follows, then the media."""
    names = " and ".join(ideas.caption(idea) for idea in wanted)
    return (Part("text", f"Here is {names}."), *(media(idea) for idea in wanted))


def meant(idea: Idea, outputs: Sequence[ModalityName], opening: str) -> tuple[Part, ...]:
    """An idea in each of the modalities that a client wants; announced, as in service, where only such are missing."""
    forms: dict[ModalityName, Part] = {
        "image": media(ideas.as_still(idea)),
        "video": media(ideas.as_moving(idea)),
        "audio": media(ideas.as_audio(idea)),
        "speech": spoken(f"{opening} {ideas.caption(idea)}"),
    }
    parts: list[Part] = []
    for place, modality in enumerate(outputs):
        if all(later in ANNOUNCED for later in outputs[place:]):
            parts.append(Part("text", f"{opening.capitalize()} {forms[modality].content}."))
        parts.append(forms[modality])
    return tuple(parts)
