"""The bus door of a stage: from its topics to its `handle`, from its responses to where they go."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError, Message

from anygpt import topology
from anygpt.bus import (
    ATTEMPT_HEADER,
    DEADLINE_HEADER,
    REQUEST_HEADER,
    SPAN_HEADER,
    TENANT_HEADER,
    TRACE_HEADER,
    Bus,
    Consumer,
    Record,
)
from anygpt.errors import (
    AnyGPTError,
    DataLoss,
    DeadlineExpired,
    TooLarge,
    Unavailable,
)
from anygpt.identity import check_tenant, new_id
from anygpt.metrics import DEAD_LETTERS
from anygpt.routes import new_route
from anygpt.stage import Call, Stage, now_ms
from anygpt.store import Store
from anygpt.turns import Turns
from anygpt.v1 import bus_pb2, types_pb2
from anygpt.voice import Voice

log = logging.getLogger(__name__)

RETRY_S = 0.5
CLOSED_ERRANDS = 4096
"""Ended errands that are remembered, so that their late chunks are dropped."""


@dataclass(eq=False, slots=True)
class _Errand:
    call: Call
    span_index: int
    inbox: asyncio.Queue[Message | None] = field(default_factory=asyncio.Queue)
    """None wakes whoever waits for a chunk that will not come."""
    records: list[Record] = field(default_factory=list)

    def cancel(self) -> None:
        """Stop the work at its next step, or its wait at once."""
        self.call.cancel()
        self.inbox.put_nowait(None)

    async def next(self) -> Message:
        """The next chunk. Raises RequestCancelled or DeadlineExpired instead of waiting for ever."""
        left_s = (self.call.deadline_ms - now_ms()) / 1000
        try:
            message = await asyncio.wait_for(self.inbox.get(), max(left_s, 0.001))
        except TimeoutError:
            message = None
        self.call.check()
        if message is None:
            raise DeadlineExpired("the rest of the span did not come in time")
        return message

    async def requests(self, first: Message) -> AsyncIterator[Message]:
        """The chunks of the span; a message without `is_last` is all there is."""
        yield first
        while not getattr(first, "is_last", True):
            first = await self.next()
            yield first


class BusDoor:
    """Takes a stage's work from its topics, and brings its responses where its route says.

    Work runs in tasks of its own, never in the loop that reads the bus; a record is finished when its errand is.
    """

    def __init__(
        self, entry: topology.StageEntry, stage: Stage[Any, Any], bus: Bus, store: Store, turns: Turns
    ) -> None:
        self.name = entry.name
        self.capacity = turns.capacity
        self._entry = entry
        self._stage = stage
        self._bus = bus
        self._store = store
        self._turns = turns
        self._errands: dict[str, _Errand] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._cancelled: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._consumer: Consumer | None = None
        self._readers: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """Errands that have not ended."""
        return len(self._errands)

    async def open(self, longest_ms: int) -> None:
        """Read back the cancels that still matter, then join the group of this stage."""
        control = self._bus.follow(topology.CONTROL, since_ms=now_ms() - longest_ms)
        self._readers.append(asyncio.create_task(self._obey(control)))
        self._consumer = await self._bus.consume(
            [self._entry.topic, self._entry.batch_topic], self._entry.name
        )
        self._readers.append(asyncio.create_task(self._take(self._consumer)))

    async def drain(self, seconds: float) -> None:
        """Take nothing new, and give what runs some time to end."""
        for reader in self._readers[1:]:
            reader.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """Stop everything; what has not ended is delivered again to another replica."""
        for task in (*self._readers, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._readers, *self._tasks, return_exceptions=True)
        if self._consumer:
            await self._consumer.close()

    async def _obey(self, control: AsyncIterator[Record]) -> None:
        async for record in control:
            order = bus_pb2.Control()
            try:
                order.ParseFromString(record.value)
            except DecodeError:
                continue
            if order.HasField("cancel"):
                _remember(self._cancelled, order.cancel.request_id)
                for errand in self._errands.values():
                    if errand.call.request_id == order.cancel.request_id:
                        errand.cancel()

    async def _take(self, consumer: Consumer) -> None:
        async for record in consumer:
            name = ":".join(record.headers.get(h, "") for h in (REQUEST_HEADER, SPAN_HEADER, ATTEMPT_HEADER))
            if name in self._closed:
                consumer.finish(record)
                continue
            try:
                message = self._parse(record)
                errand = self._errands.get(name) or self._start(name, record, consumer)
            except AnyGPTError as error:
                await self._refuse(record, error)
                consumer.finish(record)
                continue
            errand.records.append(record)
            errand.inbox.put_nowait(message)

    def _parse(self, record: Record) -> Message:
        message = topology.TOPICS[record.topic].message()
        try:
            message.ParseFromString(record.value)
        except DecodeError as error:
            raise DataLoss("the record is not the message of its topic", reason="POISON") from error
        return message

    def _start(self, name: str, record: Record, consumer: Consumer) -> _Errand:
        request_id = record.headers.get(REQUEST_HEADER, "")
        is_batch = record.topic == self._entry.batch_topic
        try:
            deadline_ms = int(record.headers.get(DEADLINE_HEADER, ""))
            span_index = int(record.headers.get(SPAN_HEADER, "0"))
        except ValueError as error:
            raise DataLoss("the record's headers are malformed", reason="POISON") from error
        call = Call(
            request_id=request_id,
            tenant=check_tenant(record.headers.get(TENANT_HEADER, "")),
            deadline_ms=deadline_ms,
            priority=types_pb2.PRIORITY_BATCH if is_batch else types_pb2.PRIORITY_INTERACTIVE,
            attempt=new_id(),
            trace=record.headers.get(TRACE_HEADER, ""),
            sent_ms=record.timestamp_ms,
        )
        if request_id in self._cancelled:
            call.cancel()
        errand = _Errand(call, span_index)
        self._errands[name] = errand
        task = asyncio.create_task(self._run(name, errand, consumer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return errand

    async def _run(self, name: str, errand: _Errand, consumer: Consumer) -> None:
        voice = Voice(self._bus, self._entry.name, errand.call)
        try:
            async with self._turns.turn(errand.call):
                await self._work(errand, voice)
        except AnyGPTError as error:
            await self._confess(errand, voice, error)
        except Exception as error:
            log.exception("stage %s failed on request %s", self._entry.name, errand.call.request_id)
            failure = AnyGPTError(f"{self._entry.name} failed ({type(error).__name__})")
            await self._bury(errand.records[0], failure)
            await self._confess(errand, voice, failure)
        finally:
            del self._errands[name]
        _remember(self._closed, name)
        for record in errand.records:
            consumer.finish(record)

    async def _work(self, errand: _Errand, voice: Voice) -> None:
        call = errand.call
        call.check()
        first = await errand.next()
        route = new_route(first, call, errand.span_index, self._store)
        async for response in self._stage.handle(errand.requests(first), call):
            for outgoing in await route.outgoing(response):
                await voice.send(outgoing.topic, outgoing.message, outgoing.span_index)
        for outgoing in await route.finished():
            await voice.send(outgoing.topic, outgoing.message, outgoing.span_index)
        await voice.flush()

    async def _confess(self, errand: _Errand, voice: Voice, error: AnyGPTError) -> None:
        """Tell the journal of a failure, as often as it takes while the request lives."""
        while True:
            try:
                return await voice.say(errand.span_index, failure=error.to_failure(self._entry.name))
            except Unavailable:
                if now_ms() >= errand.call.deadline_ms:
                    return None
                await asyncio.sleep(RETRY_S)

    async def _refuse(self, record: Record, error: AnyGPTError) -> None:
        """Bury a record, and end the request that its headers name, if they do."""
        await self._bury(record, error)
        request_id = record.headers.get(REQUEST_HEADER, "")
        if request_id:
            call = Call(request_id, record.headers.get(TENANT_HEADER, ""), now_ms(), attempt=new_id())
            await self._confess(_Errand(call, 0), Voice(self._bus, self.name, call), error)

    async def _bury(self, record: Record, error: AnyGPTError) -> None:
        letter = bus_pb2.DeadLetter(
            topic=record.topic, partition=record.partition, offset=record.offset, key=record.key.encode(),
            value=record.value, headers=dict(record.headers), failure=error.to_failure(self._entry.name),
        )  # fmt: skip
        letter.failed_at.GetCurrentTime()
        DEAD_LETTERS.labels(self._entry.name).inc()
        with suppress(Unavailable, TooLarge):
            await self._bus.publish(self._entry.dead_topic, record.key, letter.SerializeToString(), {})
        log.warning("stage %s buried a record: %s", self._entry.name, error.reason)


def _remember(names: OrderedDict[str, None], name: str) -> None:
    names[name] = None
    if len(names) > CLOSED_ERRANDS:
        names.popitem(last=False)
