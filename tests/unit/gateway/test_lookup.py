"""Looking a request up: there is none only when the journal was read to its end, however busy or slow it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.errors import NotFound, OutOfRange
from anygpt.identity import new_request_id
from anygpt.stage import now_ms
from anygpt.v1 import bus_pb2
from services.gateway.ledger import Ledger
from services.gateway.lookup import FIRST_RECORD_S, next_record
from services.gateway.story import read_story
from services.gateway.streams import Streams

OLD = f"{0x18_0000_0000:012x}{new_request_id()[12:]}"


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    made = MemoryBus()
    yield made
    await made.close()


async def neighbour_of(bus: MemoryBus, request_id: str) -> str:
    """Another request of the same partition."""
    home = await bus.partition_of(topology.REPLIES, request_id)
    while await bus.partition_of(topology.REPLIES, other := new_request_id()) != home:
        pass
    return other


async def chatter(bus: MemoryBus, request_id: str) -> None:
    """Records of a request that never ends."""
    reply = bus_pb2.Reply(request_id=request_id, accepted=bus_pb2.Accepted(tenant="t"))
    while True:
        await bus.publish(topology.REPLIES, request_id, reply.SerializeToString(), {})
        await asyncio.sleep(0.02)


async def test_what_does_not_exist_is_not_found_in_a_partition_that_is_never_silent(bus: MemoryBus) -> None:
    unknown = new_request_id()
    busy = asyncio.create_task(chatter(bus, await neighbour_of(bus, unknown)))
    async with asyncio.timeout(3 * FIRST_RECORD_S):
        with pytest.raises(NotFound):
            await anext(Streams(bus, 8, Ledger(())).history(unknown, "t"))
        with pytest.raises(NotFound):
            await read_story(bus, "t", unknown)
    busy.cancel()


@pytest.mark.parametrize("age_s", [120, -86_400])
async def test_nobody_waits_for_an_old_request_that_does_not_exist(bus: MemoryBus, age_s: int) -> None:
    unknown = f"{now_ms() - 1000 * age_s:012x}{new_request_id()[12:]}"
    async with asyncio.timeout(1.0):
        with pytest.raises(NotFound):
            await anext(Streams(bus, 8, Ledger(())).history(unknown, "t"))


async def test_the_story_of_a_request_under_way_ends_in_a_partition_that_is_never_silent(
    bus: MemoryBus,
) -> None:
    known = new_request_id()
    reply = bus_pb2.Reply(request_id=known, stage=topology.GATEWAY, accepted=bus_pb2.Accepted(tenant="t"))
    await bus.publish(topology.REPLIES, known, reply.SerializeToString(), {})
    busy = asyncio.create_task(chatter(bus, await neighbour_of(bus, known)))
    async with asyncio.timeout(2 * FIRST_RECORD_S):
        story = await read_story(bus, "t", known)
    assert [entry.what for entry in story.entries] == ["accepted"]
    assert not story.ended
    busy.cancel()


async def test_silence_means_nothing_before_all_that_stood_there_was_read(bus: MemoryBus) -> None:
    unknown = new_request_id()
    neighbour = await neighbour_of(bus, unknown)
    for _ in range(3):
        await bus.publish(topology.REPLIES, neighbour, b"", {})
    records = bus.follow(topology.REPLIES, key=unknown, since_ms=0)
    told = [records.is_current]
    assert await next_record(records, unknown, 0.2) is None
    assert [*told, records.is_current] == [False, True]
    await records.aclose()


async def test_the_story_of_a_request_that_is_older_than_the_journal_is_out_of_range(bus: MemoryBus) -> None:
    with pytest.raises(OutOfRange):
        await read_story(bus, "t", OLD)
    async with aclosing(Streams(bus, 8, Ledger(())).history(OLD, "t")) as history:
        with pytest.raises(OutOfRange):
            await anext(history)
