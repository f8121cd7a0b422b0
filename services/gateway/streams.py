"""Streams: the clients that wait for events at this replica, fed by one reader of the journal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager

from google.protobuf.message import DecodeError

from anygpt import topology
from anygpt.answer import Event
from anygpt.bus import Bus, Record
from anygpt.errors import Exhausted, NotFound
from anygpt.identity import request_time_ms
from anygpt.stage import now_ms
from anygpt.v1 import bus_pb2
from services.gateway.journal import Fold
from services.gateway.ledger import Ledger

log = logging.getLogger(__name__)
FIRST_RECORD_S = 3.0
"""How long a resumed request's first record may take to appear before there is no such request."""


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

    def __init__(self, request_id: str) -> None:
        self._fold = Fold(request_id)
        self._queue: asyncio.Queue[bus_pb2.Reply | None] = asyncio.Queue()

    def offer(self, reply: bus_pb2.Reply, bound: int) -> None:
        """Queue a record; past the bound the client is cut, and can resume."""
        if self._queue.qsize() < bound:
            self._queue.put_nowait(reply)
        elif self._queue.qsize() == bound:
            self._queue.put_nowait(None)

    async def events(self) -> AsyncIterator[Event]:
        """Events up to the terminal one. Raises Exhausted when the client was too slow."""
        while not self._fold.is_ended:
            reply = await self._queue.get()
            if reply is None:
                raise Exhausted(
                    "the client reads too slowly; resume after the last event", reason="SLOW_CONSUMER"
                )
            for event in self._fold.feed(reply):
                yield event


class Streams:
    """Hands each record of the journal to whoever waits for its request."""

    def __init__(self, bus: Bus, bound: int, ledger: Ledger) -> None:
        self._bus = bus
        self._bound = bound
        self._ledger = ledger
        self._waiting: dict[str, set[Watch]] = {}
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to read the journal."""
        records = self._bus.follow(topology.REPLIES, since_ms=now_ms())
        self._reader = asyncio.create_task(self._read(records))

    async def close(self) -> None:
        """Stop reading."""
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    @contextmanager
    def watch(self, request_id: str) -> Iterator[Watch]:
        """Listen to a request that is about to be accepted; nothing published from here on is missed."""
        watch = Watch(request_id)
        self._waiting.setdefault(request_id, set()).add(watch)
        try:
            yield watch
        finally:
            self._waiting[request_id].discard(watch)
            if not self._waiting[request_id]:
                del self._waiting[request_id]

    async def replayed(self, request_id: str, tenant: str, after_seq: int) -> AsyncIterator[Event]:
        """The events of an earlier request after `after_seq`. Raises NotFound unless it is the tenant's."""
        fold = Fold(request_id)
        since_ms = request_time_ms(request_id) - 1000
        records = self._bus.follow(topology.REPLIES, key=request_id, since_ms=since_ms)
        async with aclosing(records):
            while not fold.is_ended:
                waits_s = None if fold.accepted else FIRST_RECORD_S
                try:
                    record = await asyncio.wait_for(anext(records), waits_s)
                except TimeoutError:
                    raise NotFound("there is no such request", field="request_id") from None
                reply = parse_reply(record) if record.key == request_id else None
                if reply is None:
                    continue
                events = fold.feed(reply)
                if fold.accepted and fold.accepted.tenant != tenant:
                    raise NotFound("there is no such request", field="request_id")
                for event in events:
                    if event.seq > after_seq:
                        yield event

    async def _read(self, records: AsyncIterator[Record]) -> None:
        async for record in records:
            reply = parse_reply(record)
            if reply is None:
                continue
            self._ledger.see(reply)
            for watch in tuple(self._waiting.get(record.key, ())):
                watch.offer(reply, self._bound)
