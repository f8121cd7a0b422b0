"""What the engine and the model runner say to each other: feeds go in, drawn tokens and hidden states come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Rows of floats, [n, width]."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The ids that may come next, as ranges in ascending order."""

    ranges: tuple[range, ...]

    @property
    def only(self) -> int | None:
        """The one id, where there is no choice."""
        return self.ranges[0][0] if sum(map(len, self.ranges)) == 1 else None

    def __contains__(self, token: int) -> bool:
        return any(token in ids for ids in self.ranges)


@dataclass(frozen=True, slots=True)
class Draw:
    """How one token is drawn. Its randomness is a function of (seed, position) alone."""

    choice: Choice
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    seed: int
    position: int
    """Of the token within the answer."""
    seen: Sequence[int] = ()
    """Ids that the repetition penalty counts."""


@dataclass(frozen=True, slots=True)
class Feed:
    """The next positions of one sequence: their ids, and vectors where an input projection stands for the id."""

    pages: Sequence[int]
    """Numbers of the sequence's pages, in order."""
    start: int
    ids: Sequence[int]
    """Vocabulary ids; negative where `vectors` has the embedding."""
    read: int = 0
    """How many of the ids, from the first one on, are the prompt's; the others were written."""
    vectors: Mapping[int, Vectors] = field(default_factory=dict)
    """Embeddings by offset in `ids`."""
    signals: Sequence[int] = ()
    """Offsets whose hidden state plus input embedding is wanted."""
    draw: Draw | None = None
    """Draw the token after the last position."""
    copy: tuple[int, int] | None = None
    """A page whose content is copied into another one first."""
    adapter: str = ""
    """Name of the low-rank update that the sequence is run with; empty: the pack's model as it is."""


@dataclass(frozen=True, slots=True)
class Fed:
    """What came of a feed."""

    token: int | None
    """None: none was to be drawn, or the model's numbers are not finite."""
    signals: Vectors | None
