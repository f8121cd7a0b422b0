"""One request on its way: what the journal says of it, and what its composer has begun."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from anygpt.bus import TRACE_HEADER, Record
from anygpt.stage import Call
from anygpt.v1 import anygpt_service_pb2, bus_pb2, types_pb2
from services.gateway.journal import Fold


@dataclass(eq=False, slots=True)
class Errand:
    """One request that has no terminal event yet."""

    fold: Fold
    records: list[Record] = field(default_factory=list)
    turns: list[anygpt_service_pb2.Turn] = field(default_factory=list)
    media: list[types_pb2.Part] = field(default_factory=list)
    """Parts to encode; their place is the span index of their encoding."""
    is_encoding: bool = False
    is_composing: bool = False
    is_replayed: bool = False
    is_terminated: bool = False
    is_due: bool = False
    runner: asyncio.Task[None] | None = None

    @property
    def accepted(self) -> bus_pb2.Accepted:
        """How the request was admitted."""
        assert self.fold.accepted is not None
        return self.fold.accepted

    @property
    def call(self) -> Call:
        """Whose it is and until when."""
        accepted = self.accepted
        return Call(
            self.fold.request_id,
            accepted.tenant,
            accepted.deadline.ToMilliseconds(),
            accepted.request.priority or types_pb2.PRIORITY_INTERACTIVE,
            trace=self.records[0].headers.get(TRACE_HEADER, ""),
        )
