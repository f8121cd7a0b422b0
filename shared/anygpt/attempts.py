"""Attempts at a piece of work: their order, on which all agree, and what the journal says of those before.

An attempt's name begins with the epoch of its worker's hold of the partition that the work came from, so that a worker
that was paused and has lost the partition is told from the one that has it now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from anygpt import topology
from anygpt.bus import Bus, Record
from anygpt.errors import DataLoss, InvalidInput
from anygpt.identity import new_id, request_time_ms
from anygpt.stage import Call, now_ms
from anygpt.v1 import bus_pb2

EPOCH_DIGITS = 8
CLOCKS_MS = 60_000
"""How far the clock that a request id was made by may be ahead of the bus's own."""
READERS = 8
"""Journals that one process reads at once for this."""


def new_attempt(epoch: int) -> str:
    """A new attempt's name."""
    return f"{epoch:0{EPOCH_DIGITS}x}{new_id()}"


def epoch_of(attempt: str) -> int:
    """The epoch that an attempt's name begins with; 0 for none. Raises DataLoss for what is no attempt."""
    try:
        return int(attempt[:EPOCH_DIGITS] or "0", 16)
    except ValueError as error:
        raise DataLoss("this is no attempt", reason="POISON") from error


def journal_begin_ms(request_id: str) -> int:
    """The moment from which the journal is to be read for a request, Unix milliseconds.

    An id from the future was made by a clock that is wrong: its records are older than it says.
    """
    try:
        made_ms = request_time_ms(request_id)
    except InvalidInput:
        return 0
    return max(0, made_ms - CLOCKS_MS) if made_ms <= now_ms() + CLOCKS_MS else 0


@dataclass(slots=True)
class Past:
    """What earlier attempts at a piece of work have left in the journal."""

    ids: Sequence[int] = ()
    """Token ids that were published, in order."""
    closed: frozenset[int] = frozenset()
    """Spans of the answer that are whole, and whose work was sent on."""
    crashes: int = 0
    """Attempts that neither ended nor were given back."""
    is_over: bool = False
    """Whether the work was done, or is not wanted any more."""


class Historian:
    """Reads the pasts of one process's errands."""

    def __init__(self, bus: Bus, stage: str) -> None:
        self._bus = bus
        self._stage = stage
        self._readers = asyncio.Semaphore(READERS)

    async def past(self, call: Call, span_index: int) -> Past:
        """What the journal holds before the claim of the call's own attempt, which was written already."""
        history = _History(self._stage, span_index, call.attempt)
        since_ms = journal_begin_ms(call.request_id)
        async with self._readers:
            records = self._bus.follow(topology.REPLIES, since_ms=since_ms, key=call.request_id)
            async with aclosing(records):
                async for reply in _replies(records, call.request_id):
                    if history.feed(reply):
                        break
        return history.past()


async def _replies(records: AsyncIterator[Record], request_id: str) -> AsyncIterator[bus_pb2.Reply]:
    async for record in records:
        if record.key != request_id:
            continue
        try:
            yield bus_pb2.Reply.FromString(record.value)
        except DecodeError:
            continue


@dataclass(slots=True)
class _Published:
    """What one attempt of the generator has published."""

    spans: dict[int, list[int]] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)

    @property
    def ids(self) -> list[int]:
        return [one for _, ids in sorted(self.spans.items()) for one in ids]


class _History:
    def __init__(self, stage: str, span_index: int, own_attempt: str) -> None:
        self._stage = stage
        self._span_index = span_index
        self._own = own_attempt
        self._adopted = ""
        self._live: set[str] = set()
        self._published: list[_Published] = [_Published()]
        self._is_over = False

    def feed(self, reply: bus_pb2.Reply) -> bool:
        """Take in one record; returns whether it is the claim of the own attempt."""
        body = reply.WhichOneof("body")
        self._is_over |= body == "terminal"
        is_ours = reply.stage == self._stage and (body == "generated" or reply.span_index == self._span_index)
        if not is_ours:
            return False
        if body == "claimed":
            return self._claimed(reply.attempt)
        if body == "released":
            self._live.discard(reply.attempt)
        elif reply.attempt == self._adopted:
            self._is_over |= body in ("encoded", "span_finished", "failure")
            if body == "generated":
                self._generated(reply)
        return False

    def past(self) -> Past:
        best = max(self._published, key=lambda one: len(one.ids))
        closed = frozenset(index for one in self._published for index in one.closed)
        return Past(best.ids, closed, len(self._live), self._is_over)

    def _claimed(self, attempt: str) -> bool:
        if attempt == self._own:
            return True
        if epoch_of(attempt) >= epoch_of(self._adopted):
            self._adopted = attempt
            self._live.add(attempt)
            self._published.append(_Published())
        return False

    def _generated(self, reply: bus_pb2.Reply) -> None:
        response, published = reply.generated, self._published[-1]
        if response.HasField("text"):
            published.spans.setdefault(response.span_index, []).extend(response.text.ids)
        elif response.HasField("span_closed"):
            published.closed.add(response.span_index)
            if response.span_closed.ids:
                published.spans[response.span_index] = list(response.span_closed.ids)
        elif response.HasField("finished"):
            self._is_over = True
