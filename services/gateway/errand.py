"""One request on its way: what the journal says of it, and what its composer has begun."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from anygpt.attempts import epoch_of, new_attempt
from anygpt.bus import TRACE_HEADER, Record, Tenure
from anygpt.errors import AnyGPTError
from anygpt.stage import Call
from anygpt.v1 import anygpt_service_pb2, bus_pb2, types_pb2
from services.gateway.journal import Fold


@dataclass(eq=False, slots=True)
class Errand:
    """One request that has no terminal event yet, as one owner of its partition has it."""

    fold: Fold
    tenure: Tenure
    attempt: str = ""
    records: list[Record] = field(default_factory=list)
    """Without their values."""
    turns: list[anygpt_service_pb2.Turn] = field(default_factory=list)
    media: list[types_pb2.Part] | None = None
    """Parts to encode; their place is the span index of their encoding. None: not sent by this owner."""
    is_composed: bool = False
    """Whether this owner has sent the prompt."""
    is_claimed: bool = False
    is_terminated: bool = False
    is_due: bool = False
    crash: AnyGPTError | None = None
    """What the composer itself failed of."""
    runner: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.attempt = new_attempt(self.tenure.epoch)

    def add(self, record: Record, reply: bus_pb2.Reply) -> None:
        """Take in one record of the journal."""
        self.records.append(replace(record, value=b""))
        self.fold.feed(reply)

    @property
    def accepted(self) -> bus_pb2.Accepted:
        """How the request was admitted."""
        assert self.fold.accepted is not None
        return self.fold.accepted

    @property
    def is_another_s(self) -> bool:
        """Whether a later owner has claimed the request."""
        return epoch_of(self.fold.owner) > self.tenure.epoch

    @property
    def call(self) -> Call:
        """Whose it is and until when."""
        accepted = self.accepted
        return Call(
            self.fold.request_id,
            accepted.tenant,
            accepted.deadline.ToMilliseconds(),
            accepted.request.priority or types_pb2.PRIORITY_INTERACTIVE,
            attempt=self.attempt,
            conversation_id=accepted.request.conversation_id,
            trace=self.records[0].headers.get(TRACE_HEADER, ""),
        )
