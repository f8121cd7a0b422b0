"""What is measured of every engine: the same prompts, lengths and threads."""

from __future__ import annotations

import random
from typing import Protocol

CONTEXT = 256
WRITTEN = 32
"""Tokens that each stream writes; its prompt fills the rest of the context."""
PREFILL = 512


class Contender(Protocol):
    """An engine with the base model of the mini pack."""

    name: str
    weight_bytes: int
    """Weights that one decode step reads."""
    position_bytes: int
    """Keys and values of one position."""
    parameters: int
    """Numbers that one position is multiplied with in a prompt."""

    def decode(self, streams: int) -> float:
        """Seconds to write WRITTEN tokens in each of so many streams, their prompts read before."""
        ...

    def prefill(self) -> float:
        """Seconds to read PREFILL tokens."""
        ...


def prompt(seed: int, length: int) -> list[int]:
    """Ids of any words."""
    source = random.Random(seed)
    return [source.randrange(1000, 40_000) for _ in range(length)]


POSITION = 2 * 30 * 3 * 64
"""Keys and values of one position: layers, key heads, their width."""
PARAMETERS = 106_168_320
"""Of the layers' matrices."""
