"""The voice of one errand on the bus: every message with the headers that belong to it, every record numbered."""

from __future__ import annotations

import asyncio
from typing import Any

from google.protobuf.message import Message

from anygpt import topology
from anygpt.bus import (
    ATTEMPT_HEADER,
    CONVERSATION_HEADER,
    DEADLINE_HEADER,
    REQUEST_HEADER,
    SCHEMA_HEADER,
    SPAN_HEADER,
    TENANT_HEADER,
    TRACE_HEADER,
    Bus,
)
from anygpt.stage import Call
from anygpt.v1 import bus_pb2

PENDING = 64
"""Messages of one errand that may be under way at once."""


class Voice:
    """Publishes one errand's messages with the headers that belong to it, numbering its records of the journal."""

    def __init__(self, bus: Bus, stage: str, call: Call) -> None:
        self._bus = bus
        self._stage = stage
        self._call = call
        self._seq: dict[int, int] = {}
        self._pending: list[asyncio.Task[None]] = []
        self._has_sent_work = False

    async def send(self, topic: str, message: Message, span_index: int) -> None:
        """Publish without waiting for the acknowledgement; a Reply gets its request, span, number, attempt, writer.

        Messages stay in order, and the journal says nothing before the work that was sent ahead of it is
        acknowledged. `flush` waits for the acknowledgements.
        """
        if topic == topology.REPLIES and self._has_sent_work:
            await self.flush()
        self._has_sent_work = topic != topology.REPLIES
        if isinstance(message, bus_pb2.Reply):
            message.request_id = self._call.request_id
            message.span_index = span_index
            message.attempt = self._call.attempt
            message.stage = self._stage
            message.seq = self._seq.get(span_index, 0)
            self._seq[span_index] = message.seq + 1
        fields = {
            REQUEST_HEADER: self._call.request_id,
            TENANT_HEADER: self._call.tenant,
            DEADLINE_HEADER: str(self._call.deadline_ms),
            ATTEMPT_HEADER: self._call.attempt,
            SPAN_HEADER: str(span_index),
            SCHEMA_HEADER: message.DESCRIPTOR.full_name,
        }
        if self._call.trace:
            fields[TRACE_HEADER] = self._call.trace
        if self._call.conversation_id:
            fields[CONVERSATION_HEADER] = self._call.conversation_id
        publish = self._bus.publish(topic, self._call.request_id, message.SerializeToString(), fields)
        self._pending.append(asyncio.create_task(publish))
        if len(self._pending) >= PENDING:
            await self.flush()

    async def flush(self) -> None:
        """Wait until everything sent is acknowledged. Raises what went wrong."""
        pending, self._pending = self._pending, []
        for outcome in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def say(self, span_index: int, **body: Any) -> None:
        """Append one record to the journal, and wait for its acknowledgement."""
        await self.send(topology.REPLIES, bus_pb2.Reply(**body), span_index)
        await self.flush()
