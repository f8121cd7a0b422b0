"""Streams: the clients that wait for events at this replica, fed by one reader of the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from google.protobuf.message import DecodeError

from anygpt import topology
from anygpt.answer import Event
from anygpt.bus import Bus, Follower, Record
from anygpt.errors import AnyGPTError, Exhausted, NotFound, OutOfRange, Unavailable
from anygpt.settings import MIB
from anygpt.v1 import bus_pb2
from services.gateway.journal import Fold
from services.gateway.ledger import Ledger
from services.gateway.lookup import draining, first_record_s, journal_of, next_record

log = logging.getLogger(__name__)
BEHIND_BYTES = 16 * MIB
"""What a slow client may fall behind, beside the bound on records."""
RETRY_MS = 200


def parse_reply(record: Record) -> bus_pb2.Reply | None:
    """The record's message, or None for what is none."""
    reply = bus_pb2.Reply()
    try:
        reply.ParseFromString(record.value)
    except DecodeError:
        log.warning("a record of the journal at offset %d is no message", record.offset)
        return None
    return reply


class Watch:
    """One client's view of a request under way."""

    def __init__(self, request_id: str, bound: int) -> None:
        self._fold = Fold(request_id)
        self._bound = bound
        self._queue: asyncio.Queue[tuple[int, bus_pb2.Reply | None]] = asyncio.Queue()
        self._behind_bytes = 0
        self._cut: AnyGPTError | None = None

    def offer(self, reply: bus_pb2.Reply, size_bytes: int) -> None:
        """Queue a record; past the bounds the client is cut, and can resume."""
        self._behind_bytes += size_bytes
        if self._queue.qsize() >= self._bound or self._behind_bytes > BEHIND_BYTES + size_bytes:
            reason, message = "SLOW_CONSUMER", "the client reads too slowly; resume after the last event"
            self.cut(Exhausted(message, reason=reason, retry_after_ms=RETRY_MS))
        elif self._cut is None:
            self._queue.put_nowait((size_bytes, reply))

    def cut(self, error: AnyGPTError) -> None:
        """End the stream with what is queued, and an error after which the client can resume."""
        if self._cut is None:
            self._cut = error
            self._queue.put_nowait((0, None))

    async def events(self) -> AsyncIterator[Event]:
        """Events up to the terminal one. Raises what the stream was cut with."""
        while not self._fold.is_ended:
            size_bytes, reply = await self._queue.get()
            self._behind_bytes -= size_bytes
            if reply is None:
                assert self._cut is not None
                raise self._cut
            for event in self._fold.feed(reply):
                yield event


class Streams:
    """Hands each record of the journal to whoever waits for its request."""

    def __init__(self, bus: Bus, bound: int, ledger: Ledger) -> None:
        self._bus = bus
        self._bound = bound
        self._ledger = ledger
        self._waiting: dict[str, set[Watch]] = {}
        self._replaying: set[Follower] = set()
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to read the journal, from its end and not from a moment: this clock may not be the bus's."""
        records = self._bus.follow(topology.REPLIES)
        self._reader = asyncio.create_task(self._read(records))

    async def cut(self) -> None:
        """End every stream so that its client resumes it elsewhere."""
        self._cut_watches(draining())
        for records in tuple(self._replaying):
            await records.aclose()

    async def close(self) -> None:
        """Stop reading."""
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    @contextmanager
    def watch(self, request_id: str) -> Iterator[Watch]:
        """Listen to a request that is about to be accepted; nothing published from here on is missed."""
        watch = Watch(request_id, self._bound)
        self._waiting.setdefault(request_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._waiting[request_id].discard(watch)
            if not self._waiting[request_id]:
                del self._waiting[request_id]

    async def replayed(self, request_id: str, tenant: str, after_seq: int) -> AsyncGenerator[Event]:
        """The events of an earlier request after `after_seq`.

        Raises NotFound unless it is the tenant's, OutOfRange when it is older than the journal, or shorter.
        """
        last = 0
        async with aclosing(self.history(request_id, tenant)) as history:
            async for _, events in history:
                for event in events:
                    last = event.seq
                    if last > after_seq:
                        yield event
        if after_seq > last:
            raise OutOfRange(f"the stream has {last} events", field="after_seq")

    async def history(
        self, request_id: str, tenant: str
    ) -> AsyncGenerator[tuple[bus_pb2.Reply, list[Event]]]:
        """Each record of a request with the events that it adds, up to the terminal one; raises as `replayed`."""
        fold = Fold(request_id)
        records = journal_of(self._bus, request_id)
        self._replaying.add(records)
        try:
            while not fold.is_ended:
                record = await next_record(
                    records, request_id, None if fold.accepted else first_record_s(request_id)
                )
                if record is None:
                    raise NotFound("there is no such request", field="request_id")
                reply = parse_reply(record)
                if reply is None:
                    continue
                events = fold.feed(reply)
                if fold.accepted and fold.accepted.tenant != tenant:
                    raise NotFound("there is no such request", field="request_id")
                yield reply, events
        finally:
            self._replaying.discard(records)
            await records.aclose()

    def _cut_watches(self, error: AnyGPTError) -> None:
        for watches in self._waiting.values():
            for watch in watches:
                watch.cut(error)

    async def _read(self, records: Follower) -> None:
        while True:
            try:
                await self._hand_out(records)
                return
            except AnyGPTError as error:
                log.warning("the journal was lost from sight: %s", error.message)
            lost = Unavailable("the journal was lost from sight", retry_after_ms=RETRY_MS)
            self._cut_watches(lost)
            await asyncio.sleep(RETRY_MS / 1000)
            records = self._bus.follow(topology.REPLIES)
            self._cut_watches(lost)

    async def _hand_out(self, records: Follower) -> None:
        async for record in records:
            reply = parse_reply(record)
            if reply is None:
                continue
            self._ledger.see(reply)
            for watch in tuple(self._waiting.get(record.key, ())):
                watch.offer(reply, len(record.value))
