"""The reader of the journal loses sight of it, and no stream stays deaf."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import pytest

from anygpt import topology
from anygpt.bus import Record
from anygpt.bus_memory import MemoryBus
from anygpt.errors import Unavailable
from anygpt.identity import new_request_id
from anygpt.stage import Call, now_ms
from anygpt.v1 import bus_pb2
from anygpt.voice import Voice
from services.gateway.ledger import Ledger
from services.gateway.streams import Streams


class LostFollower:
    """A follower that has lost its broker, as soon as it is asked."""

    def __init__(self, lost: asyncio.Event) -> None:
        self._lost = lost

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        self._lost.set()
        raise Unavailable("the bus does not answer")

    async def aclose(self) -> None:
        """Nothing is open."""


class FlickeringBus(MemoryBus):
    """A bus whose first follower is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = asyncio.Event()

    def follow(self, topic: str, *, since_ms: int | None = None, key: str | None = None) -> Any:
        """See Bus."""
        if not self.lost.is_set():
            return LostFollower(self.lost)
        return super().follow(topic, since_ms=since_ms, key=key)


async def begin(bus: MemoryBus, request_id: str) -> None:
    """What an admitted request leaves in the journal."""
    call = Call(request_id, "default", now_ms() + 60_000)
    await Voice(bus, topology.GATEWAY, call).say(0, accepted=bus_pb2.Accepted(tenant="default"))


async def test_a_stream_that_begins_while_the_journal_is_out_of_sight_misses_nothing() -> None:
    bus, request_id = FlickeringBus(), new_request_id()
    streams = Streams(bus, 64, Ledger([]))
    await streams.open()
    await bus.lost.wait()
    with streams.watch(request_id) as watch:
        await begin(bus, request_id)
        async with asyncio.timeout(10):
            event = await anext(watch.events())
    assert event.HasField("started")
    assert event.seq == 1
    await streams.close()


async def test_a_stream_that_was_under_way_is_cut_so_that_its_client_resumes() -> None:
    bus, request_id = FlickeringBus(), new_request_id()
    streams = Streams(bus, 64, Ledger([]))
    with streams.watch(request_id) as watch:
        await streams.open()
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                await anext(watch.events())
    await streams.close()
