"""Which combinations are never trained on: a fifth of them, by what they show and not by file."""

from __future__ import annotations

import zlib
from dataclasses import replace

from services.trainer.data import composed, ideas
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Idea
from services.trainer.data.messages import MEDIA, Dialogue
from services.trainer.data.world import Scene

EVERY = 5


def is_held_out(idea: Idea) -> bool:
    """Whether an idea is kept from training: it is one of the chosen fifth, or a clip that shows a picture of it."""
    if isinstance(idea, Composition):
        return composed.is_held_out(idea)
    return is_chosen(idea) or (isinstance(idea, Scene) and is_chosen(replace(idea, motion="")))


def is_chosen(idea: Idea) -> bool:
    """Whether a scene or a piece is of the fifth that is asked about; sounds have one part, so none of them is."""
    return not isinstance(idea, ideas.Sound) and zlib.crc32(ideas.caption(idea).encode()) % EVERY == 0


def shows_held_out(dialogue: Dialogue) -> bool:
    """Whether any medium of a dialogue, given or made, is of a combination that is kept for judging."""
    parts = (part for turn in dialogue.turns for message in turn for part in message)
    return any(part.modality in MEDIA and is_held_out(ideas.meaning(part.content)) for part in parts)
