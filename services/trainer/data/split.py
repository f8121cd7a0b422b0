"""Which combinations are never trained on: a fifth of them, by what they show and not by file."""

from __future__ import annotations

import zlib

from services.trainer.data import composed, ideas
from services.trainer.data.composed import Composition
from services.trainer.data.ideas import Idea
from services.trainer.data.messages import MEDIA, Dialogue

EVERY = 5


def is_held_out(idea: Idea) -> bool:
    """Whether a scene, a piece or a sound is kept for judging; sounds have one part, so none of them is."""
    if isinstance(idea, Composition):
        return composed.is_held_out(idea)
    return not isinstance(idea, ideas.Sound) and zlib.crc32(ideas.caption(idea).encode()) % EVERY == 0


def shows_held_out(dialogue: Dialogue) -> bool:
    """Whether any medium of a dialogue, given or made, is of a combination that is kept for judging."""
    parts = (part for turn in dialogue.turns for message in turn for part in message)
    return any(part.modality in MEDIA and is_held_out(ideas.meaning(part.content)) for part in parts)
