"""An errand: one piece of work as a stage's bus door holds it, from its first record to its last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from anygpt import topology
from anygpt.attempts import new_attempt
from anygpt.bus import (
    ATTEMPT_HEADER,
    CONVERSATION_HEADER,
    DEADLINE_HEADER,
    REQUEST_HEADER,
    SPAN_HEADER,
    TENANT_HEADER,
    TRACE_HEADER,
    Record,
    Tenure,
)
from anygpt.errors import AnyGPTError, DataLoss, DeadlineExpired
from anygpt.identity import check_tenant
from anygpt.stage import Call
from anygpt.v1 import types_pb2

T = TypeVar("T")
Name = tuple[str, int]
"""Request and span."""


@dataclass(eq=False, slots=True)
class Errand:
    """The chunks of one piece of work, sent by one attempt of whoever asks for it."""

    call: Call
    """Of the attempt under way."""
    span_index: int
    sender: str
    """The attempt that asks for the work."""
    tenure: Tenure
    may_have_past: bool
    """Whether somebody may have worked on it already."""
    records: list[Record] = field(default_factory=list)
    is_void: bool = False
    """Whether another errand or another replica has taken its place."""
    is_claimed: bool = False
    _spoilt: AnyGPTError | None = None
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _chunks: dict[int, Message] = field(default_factory=dict)
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> Name:
        """What it is about."""
        return self.call.request_id, self.span_index

    def add(self, record: Record, message: Message) -> None:
        """Take one more chunk; a repeat is dropped."""
        self.records.append(record)
        self._chunks.setdefault(getattr(message, "chunk_index", 0), message)
        self._arrived.set()

    def begin(self) -> None:
        """A new attempt."""
        self.is_claimed = False
        self.call = replace(self.call, attempt=new_attempt(self.tenure.epoch))

    def cancel(self) -> None:
        """Stop the work at its next step, or its wait at once."""
        self.call.cancel()
        self._stopped.set()
        self._arrived.set()

    def spoil(self, error: AnyGPTError) -> None:
        """A chunk that will not come: whoever waits is told."""
        self._spoilt = error
        self._arrived.set()

    def void(self) -> None:
        """Stop without a word: the work is another's."""
        self.is_void = True
        self.cancel()

    async def unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something. Raises RequestCancelled or DeadlineExpired instead of waiting beyond them."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stopped.wait())
        try:
            left_s = max(self.call.left_s, 0.001)
            await asyncio.wait({task, stopped}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.call.check()
                raise DeadlineExpired("the request's deadline has passed")
            return task.result()
        finally:
            for one in (task, stopped):
                one.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    async def rest(self, seconds: float) -> None:
        """Wait a while, or until the work is stopped."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    async def chunk(self, index: int) -> Message:
        """A chunk, when it is there. Raises RequestCancelled or DeadlineExpired instead of waiting for ever."""
        while index not in self._chunks:
            self.call.check()
            if self._spoilt is not None:
                raise self._spoilt
            self._arrived.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), max(self.call.left_s, 0.001))
        self.call.check()
        return self._chunks[index]

    async def requests(self, first: Message) -> AsyncIterator[Message]:
        """The chunks of the span in order; a message without `is_last` is all there is."""
        yield first
        index = 0
        while not getattr(first, "is_last", True):
            index += 1
            first = await self.chunk(index)
            yield first


def read_message(record: Record) -> Message:
    """The message of a record. Raises DataLoss for what is none."""
    message = topology.TOPICS[record.topic].message()
    try:
        message.ParseFromString(record.value)
    except DecodeError as error:
        raise DataLoss("the record is not the message of its topic", reason="POISON") from error
    return message


def read_errand(record: Record, tenure: Tenure) -> Errand:
    """The errand that a record begins. Raises DataLoss or InvalidInput for malformed headers."""
    headers = record.headers
    try:
        deadline_ms = int(headers.get(DEADLINE_HEADER, ""))
        span_index = int(headers.get(SPAN_HEADER, "0"))
    except ValueError as error:
        raise DataLoss("the record's headers are malformed", reason="POISON") from error
    is_batch = record.topic.endswith(topology.BATCH_SUFFIX)
    call = Call(
        request_id=headers.get(REQUEST_HEADER, ""),
        tenant=check_tenant(headers.get(TENANT_HEADER, "")),
        deadline_ms=deadline_ms,
        priority=types_pb2.PRIORITY_BATCH if is_batch else types_pb2.PRIORITY_INTERACTIVE,
        conversation_id=headers.get(CONVERSATION_HEADER, ""),
        trace=headers.get(TRACE_HEADER, ""),
        sent_ms=record.timestamp_ms,
    )
    sender = headers.get(ATTEMPT_HEADER, "")
    return Errand(call, span_index, sender, tenure, record.offset < tenure.first_new)
