"""One span of an answer, as the journal's fold knows it."""

from __future__ import annotations

from dataclasses import dataclass

from anygpt import topology
from anygpt.v1 import types_pb2


@dataclass(slots=True)
class Span:
    """What is known of a span, and what the client was told of it."""

    modality: topology.Modality
    text: str = ""
    """What the client was told."""
    told: int = 0
    """Characters of it that the generator's present attempt has said, too."""
    attempt: str = ""
    """The generator's attempt that has opened it last."""
    media: types_pb2.MediaRef | None = None
    is_truncated: bool = False
    is_shown: bool = False
    """Whether a decoder's attempt was told of."""
    is_done: bool = False
    is_failed: bool = False

    def hear(self, text: str) -> tuple[bool, str]:
        """Take text of the present attempt; returns whether what was told is void, and what is to be told now."""
        end = self.told + len(text)
        known = self.text[self.told : end]
        if text.startswith(known):
            self.told = end
            self.text += text[len(known) :]
            return False, text[len(known) :]
        self.text = self.text[: self.told] + text
        self.told = end
        return True, self.text

    def end(self) -> tuple[bool, str]:
        """The present attempt has said it all; as `hear`."""
        if self.told == len(self.text):
            return False, ""
        self.text = self.text[: self.told]
        return True, self.text
