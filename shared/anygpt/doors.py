"""The bus door of a stage: from its topics to its `handle`, from its responses to where they go."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from google.protobuf.message import DecodeError

from anygpt import topology
from anygpt.attempts import Historian, Past, epoch_of
from anygpt.bus import ATTEMPT_HEADER, REQUEST_HEADER, SPAN_HEADER, TENANT_HEADER, Bus, Consumer, Record
from anygpt.dead import bury
from anygpt.errand import Errand, Name, read_errand, read_message
from anygpt.errors import AnyGPTError, DeadlineExpired, Exhausted, RequestCancelled, Unavailable
from anygpt.identity import new_id
from anygpt.recent import Recent
from anygpt.routes import new_route, resumed
from anygpt.stage import Call, Stage, now_ms
from anygpt.store import Store
from anygpt.turns import Turns
from anygpt.v1 import bus_pb2
from anygpt.voice import Voice

T = TypeVar("T")
log = logging.getLogger(__name__)

RETRY_S = 0.5
RELEASE_S = 2.0
LOOK_S = 0.2
"""How often a door looks whether its partitions are still its own."""
MOST_CRASHES = 2
"""Work that has ended so many attempts without a word is not tried again."""


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
        self._historian = Historian(bus, entry.name)
        self._errands: dict[Name, Errand] = {}
        self._closed: Recent[Name, str] = Recent()
        """The sender of each ended errand."""
        self._cancelled: Recent[str, None] = Recent()
        self._tasks: set[asyncio.Task[None]] = set()
        self._consumer: Consumer | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._is_draining = False

    @property
    def running(self) -> int:
        """Errands that have not ended."""
        return len(self._errands)

    async def open(self, longest_ms: int) -> None:
        """Read back the cancels that still matter, then join the group of this stage."""
        self._readers.append(asyncio.create_task(self._obey(now_ms() - longest_ms)))
        self._consumer = await self._join()
        self._readers.append(asyncio.create_task(self._stay(self._consumer)))
        self._readers.append(asyncio.create_task(self._look()))

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, and give what runs some time to end."""
        self._is_draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def close(self) -> None:
        """Stop everything; what has not ended is given back, for another replica."""
        for task in (*self._readers, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._readers, *self._tasks, return_exceptions=True)
        if self._consumer:
            await self._consumer.close()

    async def _obey(self, since_ms: int) -> None:
        while True:
            with suppress(AnyGPTError):
                async for record in self._bus.follow(topology.CONTROL, since_ms=since_ms):
                    self._cancel(record)
                return
            await asyncio.sleep(RETRY_S)

    def _cancel(self, record: Record) -> None:
        order = bus_pb2.Control()
        with suppress(DecodeError):
            order.ParseFromString(record.value)
        if order.HasField("cancel"):
            self._cancelled[order.cancel.request_id] = None
            for errand in self._errands.values():
                if errand.call.request_id == order.cancel.request_id:
                    errand.cancel()

    async def _join(self) -> Consumer:
        return await self._bus.consume([self._entry.topic, self._entry.batch_topic], self._entry.name)

    async def _stay(self, consumer: Consumer) -> None:
        """Take work; a membership that ends before the bus does is begun anew."""
        while True:
            try:
                return await self._take(consumer)
            except AnyGPTError as error:
                log.warning("the membership of stage %s has ended: %s", self.name, error.message)
            for errand in tuple(self._errands.values()):
                errand.void()
            await asyncio.sleep(RETRY_S)
            with suppress(AnyGPTError):
                self._consumer = consumer = await self._join()

    async def _look(self) -> None:
        """Drop what another replica has now."""
        while self._consumer is not None:
            await asyncio.sleep(LOOK_S)
            for errand in tuple(self._errands.values()):
                if self._consumer.tenure(errand.records[0]) != errand.tenure:
                    errand.void()

    async def _take(self, consumer: Consumer) -> None:
        async for record in consumer:
            try:
                is_taken = self._admit(record, consumer)
            except AnyGPTError as error:
                await self._refuse(record, error)
                is_taken = False
            if not is_taken and not self._is_draining:
                consumer.finish(record)

    def _admit(self, record: Record, consumer: Consumer) -> bool:
        """Give a record to its errand; False for what is a repeat or too late."""
        tenure = consumer.tenure(record)
        if tenure is None:
            return True
        errand = read_errand(record, tenure)
        held = self._errands.get(errand.name)
        earlier = held.sender if held else self._closed.get(errand.name)
        if earlier is not None:
            is_late = held is None and errand.sender == earlier
            if is_late or epoch_of(errand.sender) < epoch_of(earlier):
                return False
        if held is not None and (held.sender, held.tenure) == (errand.sender, tenure):
            errand = held
        elif self._is_draining:
            return False
        message = read_message(record)
        errand.add(record, message)
        if errand is not held:
            self._start(errand, held, consumer)
        return True

    def _start(self, errand: Errand, held: Errand | None, consumer: Consumer) -> None:
        errand.may_have_past |= errand.name in self._closed
        if held is not None:
            held.void()
            errand.may_have_past = True
        if errand.call.request_id in self._cancelled:
            errand.cancel()
        self._errands[errand.name] = errand
        task = asyncio.create_task(self._run(errand, consumer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, errand: Errand, consumer: Consumer) -> None:
        try:
            await self._pursue(errand)
        finally:
            if self._errands.get(errand.name) is errand:
                del self._errands[errand.name]
            if errand.is_claimed:
                await self._release(errand)
        if not errand.is_void:
            self._closed[errand.name] = errand.sender
        for record in errand.records:
            if consumer.tenure(record) == errand.tenure:
                consumer.finish(record)

    async def _pursue(self, errand: Errand) -> None:
        """Attempt the work until there is an outcome, or it is another's."""
        crash: AnyGPTError | None = None
        while True:
            errand.begin()
            try:
                return await self._attempt(errand, crash)
            except Poisoned as error:
                for record in errand.records:
                    await self._bury(errand, record, error.failure)
                return await self._confess(errand, error.failure)
            except AnyGPTError as error:
                if errand.is_void:
                    return None
                if not _may_retry(error) or errand.call.left_s <= 0:
                    return await self._confess(errand, error)
                await self._release(errand)
                await errand.rest(RETRY_S)
            except Exception as error:
                log.exception("stage %s failed on request %s", self.name, errand.call.request_id)
                crash = AnyGPTError(f"{self.name} failed ({type(error).__name__})")
            errand.may_have_past = True

    async def _attempt(self, errand: Errand, crash: AnyGPTError | None) -> None:
        call = errand.call
        voice = Voice(self._bus, self.name, call)
        async with AsyncExitStack() as stack:
            await errand.unless_stopped(stack.enter_async_context(self._turns.turn(call)))
            call.check()
            await voice.say(errand.span_index, claimed=bus_pb2.AttemptClaimed())
            errand.is_claimed = True
            past = await self._past(errand)
            if past.crashes >= MOST_CRASHES:
                lost = AnyGPTError(f"{self.name} was lost {past.crashes} times with it", reason="POISON")
                raise Poisoned(crash or lost)
            if not past.is_over:
                await self._work(errand, voice, past)
                errand.is_claimed = False

    async def _past(self, errand: Errand) -> Past:
        if not errand.may_have_past:
            return Past()
        return await errand.unless_stopped(self._historian.past(errand.call, errand.span_index))

    async def _work(self, errand: Errand, voice: Voice, past: Past) -> None:
        call = errand.call
        first = resumed(await errand.chunk(0), past)
        route = new_route(first, call, errand.span_index, past, self._store)
        try:
            async for response in self._stage.handle(errand.requests(first), call):
                call.check()
                for outgoing in await route.outgoing(response):
                    await voice.send(outgoing.topic, outgoing.message, outgoing.span_index)
        except (RequestCancelled, DeadlineExpired):
            if not errand.is_void:
                await route.abandoned()
            raise
        for outgoing in await route.finished():
            await voice.send(outgoing.topic, outgoing.message, outgoing.span_index)
        await voice.flush()

    async def _bury(self, errand: Errand, record: Record, error: AnyGPTError) -> None:
        """Keep a record for an operator, as often as it takes while the request lives."""
        while not await bury(self._bus, self._entry, record, error):
            if errand.call.left_s <= 0:
                return
            await asyncio.sleep(RETRY_S)

    async def _confess(self, errand: Errand, error: AnyGPTError) -> None:
        """Tell the journal of a failure, as often as it takes while the request lives."""
        voice = Voice(self._bus, self.name, errand.call)
        while True:
            try:
                await voice.say(errand.span_index, failure=error.to_failure(self.name))
                errand.is_claimed = False
                return
            except (Unavailable, Exhausted):
                if errand.call.left_s <= 0:
                    return
                await asyncio.sleep(RETRY_S)

    async def _release(self, errand: Errand) -> None:
        """Give the attempt back, by no fault of the work."""
        voice = Voice(self._bus, self.name, errand.call)
        with suppress(AnyGPTError, TimeoutError):
            async with asyncio.timeout(RELEASE_S):
                await voice.say(errand.span_index, released=bus_pb2.AttemptReleased())
        errand.is_claimed = False

    async def _refuse(self, record: Record, error: AnyGPTError) -> None:
        """Bury a record that cannot be read, and end what its headers name, if they do."""
        await bury(self._bus, self._entry, record, error)
        request_id, span = (record.headers.get(header, "") for header in (REQUEST_HEADER, SPAN_HEADER))
        span_index = int(span) if span.isdecimal() else 0
        held = self._errands.get((request_id, span_index))
        if held is not None and held.sender == record.headers.get(ATTEMPT_HEADER, ""):
            held.spoil(error)
        elif request_id:
            call = Call(request_id, record.headers.get(TENANT_HEADER, ""), now_ms(), attempt=new_id())
            with suppress(Unavailable, Exhausted):
                await Voice(self._bus, self.name, call).say(span_index, failure=error.to_failure(self.name))


class Poisoned(Exception):
    """The work has ended too many attempts."""

    def __init__(self, failure: AnyGPTError) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _may_retry(error: AnyGPTError) -> bool:
    return isinstance(error, Unavailable | Exhausted) and error.retry_after_ms > 0
