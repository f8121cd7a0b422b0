"""The life of a request: one state machine, whose every step is a record of the journal."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Phase(Enum):
    """Where a request is."""

    NEW = "new"
    """Nothing of it is in the journal."""
    ACCEPTED = "accepted"
    """It is durable; no composer has taken it up."""
    ENCODING = "encoding"
    """A composer has it; its media become tokens."""
    GENERATING = "generating"
    """Its prompt went to the generator; decoders may be at work on spans already."""
    DECODING = "decoding"
    """The generator is done; spans may still be with their decoders."""
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


UNTIMELY = frozenset({Phase.FAILED, Phase.CANCELLED, Phase.EXPIRED})
"""Ends that may come in any phase."""
ENDS = UNTIMELY | {Phase.FINISHED}

NEXT: Mapping[Phase, frozenset[Phase]] = {
    Phase.NEW: frozenset({Phase.ACCEPTED}),
    Phase.ACCEPTED: UNTIMELY | {Phase.ENCODING},
    Phase.ENCODING: UNTIMELY | {Phase.GENERATING},
    Phase.GENERATING: UNTIMELY | {Phase.DECODING},
    Phase.DECODING: UNTIMELY | {Phase.FINISHED},
    **dict.fromkeys(ENDS, frozenset()),
}
"""Which phase may follow which; a record that asks for another step changes nothing."""
