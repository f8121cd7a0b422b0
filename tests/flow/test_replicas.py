"""Replicas that die, freeze and leave while requests are under way, over a real Kafka: nobody's answer shows it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, aclosing
from itertools import pairwise
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.answer import TERMINALS, Event
from anygpt.bus import Bus
from anygpt.client import AsyncClient
from anygpt.connections import open_bus
from anygpt.errors import Unavailable
from anygpt.identity import new_id
from anygpt.settings import ServiceSettings
from anygpt.v1 import bus_pb2
from services.gateway.journal import Fold
from tests.flow.conftest import PlainService
from tests.servers import Backends, Kafka

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

COUNT = 8
"""Requests at once: enough that every replica has some of them."""
WORDS = 80
"""Of each answer; a word takes 50 ms."""
GATEWAYS = ("gateway", "gateway")
STAGES = ("llm", "llm", "image_decoder")


class Pair:
    """Two gateways, two generators and a decoder, each a process, on a broker of their own."""

    def __init__(
        self, kafka: Kafka, gateways: Sequence[PlainService], stages: Sequence[PlainService]
    ) -> None:
        self.kafka = kafka
        self.gateways = gateways
        self.stages = stages

    async def bus(self) -> Bus:
        return await open_bus(ServiceSettings(bus=self.kafka.url))


@pytest.fixture(scope="module")
def pair(plain_pack: Path, own_kafka: Kafka, own_backends: Backends) -> Iterator[Pair]:
    """The system that these tests break; each mends what it broke."""
    with ExitStack() as stack:
        own = {"ANYGPT_PACK": str(plain_pack), "ANYGPT_DRAIN_S": "2"}
        made = [[PlainService(name, own_backends, **own) for name in names] for names in (GATEWAYS, STAGES)]
        for service in (*made[0], *made[1]):
            stack.enter_context(service)
        yield Pair(own_kafka, *made)


@pytest.fixture
async def bus(pair: Pair) -> AsyncIterator[Bus]:
    opened = await pair.bus()
    yield opened
    await opened.close()


class Listener:
    """Clients that note each event of their requests and when it came."""

    def __init__(self, address: str) -> None:
        self.events: dict[int, list[Event]] = {number: [] for number in range(COUNT)}
        self.times: dict[int, list[float]] = {number: [] for number in range(COUNT)}
        self._client = AsyncClient(address)
        self._tasks = [asyncio.create_task(self._listen(number)) for number in range(COUNT)]

    async def _listen(self, number: int) -> None:
        async for event in self._client.events(self.text(number)):
            self.events[number].append(event)
            self.times[number].append(time.monotonic())

    def text(self, number: int) -> str:
        """What is asked for, and answered."""
        return " ".join(f"w{number}-{word} slow" for word in range(WORDS // 2)) + " image"

    async def until_all_speak(self) -> None:
        while not all(len(events) > 10 for events in self.events.values()):
            await asyncio.sleep(0.05)

    async def until_all_end(self) -> None:
        await asyncio.gather(*self._tasks)
        await self._client.close()

    def check(self) -> None:
        """Every answer is whole, without gap or repeat, and ends once."""
        for number, events in self.events.items():
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            kinds = [event.WhichOneof("kind") for event in events]
            assert [kind for kind in kinds if kind in TERMINALS] == ["finished"] == kinds[-1:]
            text = "".join(event.text_delta.text for event in events)
            assert "restarted" not in [k for e, k in zip(events, kinds, strict=True) if e.span_index == 0]
            assert text.split() == self.text(number).split()

    def silences(self, moment: float) -> list[float]:
        """For each request, the longest time from a moment on in which nothing came."""
        laters = [[moment, *(t for t in times if t > moment)] for times in self.times.values()]
        return sorted(max((b - a for a, b in pairwise(later)), default=0.0) for later in laters)


async def journals(bus: Bus, listener: Listener) -> dict[str, list[bus_pb2.Reply]]:
    """All records of the requests, read to the end of the topic."""
    found = {events[0].request_id: list[bus_pb2.Reply]() for events in listener.events.values()}
    end, left = new_id(), len(found)
    async with aclosing(bus.follow(topology.REPLIES, since_ms=0)) as records:
        for request_id in found:
            await bus.publish(topology.REPLIES, request_id, b"", {"end": end})
        async for record in records:
            left -= record.headers.get("end") == end
            if record.value and record.key in found:
                found[record.key].append(bus_pb2.Reply.FromString(record.value))
            if not left:
                break
    return found


def told(request_id: str, journal: list[bus_pb2.Reply]) -> list[Event]:
    """What a client is told by a journal."""
    fold = Fold(request_id)
    return [event for reply in journal for event in fold.feed(reply)]


def claims(journal: list[bus_pb2.Reply], stage: str) -> int:
    """How often a request was taken up."""
    return sum(1 for reply in journal if reply.stage == stage and reply.HasField("claimed"))


async def test_a_generator_that_is_killed_is_replaced_in_the_middle_of_its_answers(
    pair: Pair, bus: Bus, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = Listener(pair.gateways[0].address)
    await listener.until_all_speak()
    victim = pair.stages[0]
    victim.kill()
    killed_at = time.monotonic()
    await listener.until_all_end()
    await asyncio.to_thread(victim.start)
    listener.check()
    taken = [claims(journal, "llm") for journal in (await journals(bus, listener)).values()]
    assert max(taken) == 2, "nobody had to be replaced"
    with capsys.disabled():
        print(f"\nlongest silences after a kill: {[round(s, 1) for s in listener.silences(killed_at)]} s")


async def test_an_owner_that_was_frozen_and_wakes_up_decides_nothing(pair: Pair, bus: Bus) -> None:
    frozen, awake = pair.gateways
    listener = Listener(awake.address)
    await listener.until_all_speak()
    os.kill(frozen.pid, signal.SIGSTOP)
    await listener.until_all_end()
    before = await journals(bus, listener)
    os.kill(frozen.pid, signal.SIGCONT)
    async with AsyncClient(frozen.address) as client:
        assert (await client.answer("hello")).text.split() == ["hello"]
    await asyncio.sleep(2)
    listener.check()
    after = await journals(bus, listener)
    assert max(claims(journal, topology.GATEWAY) for journal in after.values()) == 2, "nobody was adopted"
    for events in listener.events.values():
        request_id = events[0].request_id
        assert told(request_id, after[request_id]) == told(request_id, before[request_id]) == events
        assert claims(after[request_id], "llm") == 1


async def test_nobody_is_told_that_a_request_does_not_exist_while_the_broker_is_silent(pair: Pair) -> None:
    async with AsyncClient(pair.gateways[0].address) as client:
        events = [event async for event in client.events("hello")]
        request_id = events[0].request_id
        with pair.kafka.paused():
            for ask in (
                client.inspect(request_id),
                client.cancel(request_id),
                told_after(client, request_id),
            ):
                with pytest.raises(Unavailable):
                    await asyncio.wait_for(ask, 60)
        assert await told_after(client, request_id) == events


async def told_after(client: AsyncClient, request_id: str) -> list[Event]:
    """What a client that lost its stream is told again."""
    return [event async for event in client.resume(request_id, 0)]


async def test_a_stream_is_taken_up_after_every_event_at_the_other_gateway(pair: Pair) -> None:
    here, there = pair.gateways
    async with AsyncClient(here.address) as client, AsyncClient(there.address) as other:
        events = [event async for event in client.events("one slow two slow three image")]
        request_id = events[0].request_id
        for after in range(len(events)):
            assert [event async for event in other.resume(request_id, after)] == events[after:]


@pytest.mark.slow
async def test_a_gateway_that_is_killed_is_followed_by_another_for_its_clients_too(
    pair: Pair, bus: Bus
) -> None:
    victim, other = pair.gateways
    ports = ",".join(one.address for one in (victim, other))
    listener = Listener(f"ipv4:{ports}")
    await listener.until_all_speak()
    victim.kill()
    await listener.until_all_end()
    await asyncio.to_thread(victim.start)
    listener.check()


@pytest.mark.slow
@pytest.mark.parametrize("service", ["gateway", "llm"])
async def test_a_replica_that_is_told_to_stop_hands_its_requests_over(
    pair: Pair, bus: Bus, service: str
) -> None:
    leaving = pair.gateways[0] if service == "gateway" else pair.stages[0]
    ports = ",".join(one.address for one in pair.gateways)
    listener = Listener(f"ipv4:{ports}")
    await listener.until_all_speak()
    await asyncio.to_thread(leaving.stop)
    assert leaving.exit_status == 0
    await listener.until_all_end()
    await asyncio.to_thread(leaving.start)
    listener.check()
