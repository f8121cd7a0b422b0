"""Streams on the in-process bus: a client that is too slow, one that is not, and what both can take up again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from anygpt import topology
from anygpt.answer import Event
from anygpt.attempts import new_attempt
from anygpt.bus_memory import MemoryBus
from anygpt.errors import Exhausted, Unavailable
from anygpt.identity import new_request_id
from anygpt.v1 import bus_pb2, stages_pb2
from services.gateway.ledger import Ledger
from services.gateway.streams import Streams, Watch

BOUND = 8
CHUNKS = 50


class Desk:
    """Streams, and a request whose journal grows."""

    def __init__(self, bus: MemoryBus) -> None:
        self.bus = bus
        self.streams = Streams(bus, BOUND, Ledger(()))
        self.request_id = new_request_id()
        self._attempt = new_attempt(1)

    async def write(self, seq: int, **body: object) -> None:
        stage = topology.GATEWAY if "accepted" in body else topology.GENERATOR.name
        reply = bus_pb2.Reply(
            request_id=self.request_id, stage=stage, attempt=self._attempt, seq=seq, **body  # type: ignore[arg-type]
        )  # fmt: skip
        await self.bus.publish(topology.REPLIES, self.request_id, reply.SerializeToString(), {})

    async def speak(self, chunks: int) -> None:
        """The request is accepted, and something is said."""
        await self.write(0, accepted=bus_pb2.Accepted(tenant="t"))
        for number in range(chunks):
            text = stages_pb2.TextChunk(text=f"{number} ")
            await self.write(number, generated=stages_pb2.GenerateTokensResponse(text=text))
            await asyncio.sleep(0)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk(MemoryBus())
    await made.streams.open()
    yield made
    await made.streams.close()
    await made.bus.close()


async def read(watch: Watch, count: int) -> list[Event]:
    """The next events of a stream."""
    events: list[Event] = []
    async with asyncio.timeout(10):
        async for event in watch.events():
            events.append(event)
            if len(events) == count:
                break
    return events


async def collect(events: AsyncIterator[Event], into: list[Event]) -> None:
    """Read to the end."""
    async for event in events:
        into.append(event)


async def test_a_slow_client_is_cut_and_delays_nobody_and_takes_up_its_stream(desk: Desk) -> None:
    with desk.streams.watch(desk.request_id) as slow, desk.streams.watch(desk.request_id) as quick:
        reading = asyncio.create_task(read(quick, CHUNKS + 2))
        await desk.speak(CHUNKS)
        whole = await reading
        seen: list[Event] = []
        with pytest.raises(Exhausted) as caught:
            await collect(slow.events(), seen)
    assert caught.value.reason == "SLOW_CONSUMER"
    assert 0 < len(seen) < len(whole)
    resumed = desk.streams.replayed(desk.request_id, "t", seen[-1].seq)
    rest = [await anext(resumed) for _ in range(len(whole) - len(seen))]
    assert seen + rest == whole


async def test_a_replica_that_stops_cuts_its_streams_so_that_they_can_be_taken_up(desk: Desk) -> None:
    with desk.streams.watch(desk.request_id) as watch:
        await desk.speak(3)
        resumed = desk.streams.replayed(desk.request_id, "t", 0)
        assert (await anext(resumed)).HasField("started")
        await desk.streams.cut()
        for events in (watch.events(), resumed):
            with pytest.raises(Unavailable) as caught:
                await collect(events, [])
            assert caught.value.reason == "DRAINING"
