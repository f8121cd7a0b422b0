"""The bus door: poison, oversize, crashes, drain; on the in-process bus, with stages that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.bus import DEADLINE_HEADER, REQUEST_HEADER, SPAN_HEADER, TENANT_HEADER
from anygpt.bus_memory import MemoryBus
from anygpt.doors import BusDoor
from anygpt.errors import Exhausted
from anygpt.identity import new_request_id
from anygpt.settings import LimitSettings
from anygpt.stage import Call, now_ms
from anygpt.store_folder import FolderStore
from anygpt.turns import Turns
from anygpt.v1 import bus_pb2, stages_pb2, types_pb2
from tests.flow.stages import PlainDecoder, ScriptedGenerator

ENTRY = topology.STAGES["llm"]


def headers(request_id: str, deadline_ms: int | None = None) -> dict[str, str]:
    """The headers that a gateway sends."""
    return {
        REQUEST_HEADER: request_id,
        TENANT_HEADER: "default",
        DEADLINE_HEADER: str(deadline_ms or now_ms() + 60_000),
        SPAN_HEADER: "0",
    }


def question(text: str) -> bytes:
    """A prompt of one text."""
    return stages_pb2.GenerateTokensRequest(prompt=[stages_pb2.PromptSegment(text=text)]).SerializeToString()


class Bench:
    """A door with a scripted generator behind it, and the journal before it."""

    def __init__(self, bus: MemoryBus, door: BusDoor) -> None:
        self.bus = bus
        self.door = door

    async def ask(self, value: bytes, deadline_ms: int | None = None) -> str:
        """Publish work; return its request id."""
        request_id = new_request_id()
        await self.bus.publish(ENTRY.topic, request_id, value, headers(request_id, deadline_ms))
        return request_id

    async def replies(self, request_id: str, until: str) -> list[bus_pb2.Reply]:
        """The journal of a request, up to a body or an output of that name."""
        found: list[bus_pb2.Reply] = []
        async with asyncio.timeout(5):
            async for record in self.bus.follow(topology.REPLIES, since_ms=0, key=request_id):
                if record.key != request_id:
                    continue
                reply = bus_pb2.Reply.FromString(record.value)
                found.append(reply)
                if until in (reply.WhichOneof("body"), reply.generated.WhichOneof("output")):
                    break
        return found

    async def dead_letter(self) -> bus_pb2.DeadLetter:
        """The first dead letter."""
        async with asyncio.timeout(5):
            async for record in self.bus.follow(ENTRY.dead_topic, since_ms=0):
                return bus_pb2.DeadLetter.FromString(record.value)
        raise AssertionError


class CrowdedBus(MemoryBus):
    """A bus that has no room for letters and for what the journal is told, a few times over."""

    def __init__(self, refusals: int, limits: LimitSettings | None = None) -> None:
        super().__init__(limits)
        self.left = {ENTRY.dead_topic: refusals, topology.REPLIES: refusals}

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See Bus."""
        body = bus_pb2.Reply.FromString(value).WhichOneof("body") if topic == topology.REPLIES else "letter"
        if body in ("letter", "failure") and self.left.get(topic, 0):
            self.left[topic] -= 1
            raise Exhausted("full", reason="BUS_FULL", retry_after_ms=1000)
        await super().publish(topic, key, value, headers)


async def test_a_full_bus_loses_no_failure_and_no_letter_and_work_goes_on(tmp_path: Path) -> None:
    bus = CrowdedBus(refusals=2)
    door = BusDoor(ENTRY, ScriptedGenerator(), bus, await FolderStore(tmp_path).open(), Turns(4))
    await door.open(600_000)
    bench = Bench(bus, door)
    request_id = await bench.ask(question("crash"))
    assert (await bench.replies(request_id, "failure"))[-1].failure.reason == "INTERNAL"
    assert (await bench.dead_letter()).key.decode() == request_id
    assert not any(bus.left.values())
    assert await bench.replies(await bench.ask(question("hello")), "finished")
    await door.close()
    await bus.close()


async def test_a_record_that_is_too_large_to_be_buried_whole_leaves_its_headers(tmp_path: Path) -> None:
    limits = LimitSettings(message_bytes=100_000)
    bus = MemoryBus(limits)
    door = BusDoor(ENTRY, ScriptedGenerator(), bus, await FolderStore(tmp_path).open(), Turns(4))
    await door.open(600_000)
    own = headers(new_request_id())
    room = limits.message_bytes - 32 - sum(len(name) + len(text) for name, text in own.items())
    request_id = await Bench(bus, door).ask(question("crash").ljust(room, b"\0"))
    letter = await Bench(bus, door).dead_letter()
    assert (letter.key.decode(), letter.value, letter.failure.reason) == (request_id, b"", "POISON")
    await door.close()
    await bus.close()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    """An open door."""
    bus = MemoryBus()
    door = BusDoor(ENTRY, ScriptedGenerator(), bus, await FolderStore(tmp_path).open(), Turns(4))
    await door.open(600_000)
    yield Bench(bus, door)
    await door.close()
    await bus.close()


async def test_work_is_answered_in_the_journal(bench: Bench) -> None:
    replies = await bench.replies(await bench.ask(question("hello")), "finished")
    assert [reply.seq for reply in replies] == list(range(len(replies)))
    assert {reply.stage for reply in replies} == {"llm"}


async def test_a_record_that_is_no_message_is_buried_and_work_goes_on(bench: Bench) -> None:
    request_id = await bench.ask(b"\xff\xff no protobuf")
    letter = await bench.dead_letter()
    assert (letter.failure.reason, letter.value, letter.topic) == (
        "POISON",
        b"\xff\xff no protobuf",
        ENTRY.topic,
    )
    assert (await bench.replies(request_id, "failure"))[-1].failure.reason == "POISON"
    assert await bench.replies(await bench.ask(question("hello")), "finished")


async def test_a_crash_is_told_and_buried(bench: Bench) -> None:
    request_id = await bench.ask(question("crash"))
    assert (await bench.replies(request_id, "failure"))[-1].failure.reason == "INTERNAL"
    assert (await bench.dead_letter()).failure.stage == "llm"


async def test_work_past_its_deadline_is_not_begun(bench: Bench) -> None:
    request_id = await bench.ask(question("hello"), deadline_ms=now_ms() - 1)
    replies = await bench.replies(request_id, "failure")
    assert [reply.failure.reason for reply in replies] == ["DEADLINE"]


async def test_a_cancel_on_the_control_topic_stops_the_work(bench: Bench) -> None:
    request_id = await bench.ask(question("hang"))
    await asyncio.sleep(0.05)
    order = bus_pb2.Control(cancel=types_pb2.CancelOrder(request_id=request_id))
    await bench.bus.publish(topology.CONTROL, request_id, order.SerializeToString(), {})
    assert (await bench.replies(request_id, "failure"))[-1].failure.code == 1
    await asyncio.sleep(0.05)
    assert bench.door.running == 0


async def test_draining_finishes_what_runs_and_takes_nothing_new(bench: Bench) -> None:
    running = await bench.ask(question("slow slow hello"))
    await asyncio.sleep(0.02)
    await bench.door.drain(5)
    assert (await bench.replies(running, "finished"))[-1].generated.HasField("finished")
    await bench.ask(question("hello"))
    await asyncio.sleep(0.05)
    assert bench.door.running == 0


async def test_a_span_whose_rest_never_comes_ends_with_its_deadline(tmp_path: Path) -> None:
    entry = topology.STAGES["speech_decoder"]
    bus = MemoryBus()
    store = await FolderStore(tmp_path).open()
    door = BusDoor(entry, PlainDecoder(topology.SPEECH), bus, store, Turns(4))
    await door.open(600_000)
    request_id = new_request_id()
    chunk = stages_pb2.DecodeRequest(modality=topology.SPEECH, codes=types_pb2.Codes(ids=[1]))
    await bus.publish(entry.topic, request_id, chunk.SerializeToString(), headers(request_id, now_ms() + 200))
    failure = (await Bench(bus, door).replies(request_id, "failure"))[-1].failure
    assert failure.reason == "DEADLINE"
    await door.close()
    await bus.close()


def test_a_call_tells_when_it_must_stop() -> None:
    call = Call("r", "default", now_ms() + 1000)
    call.check()
    call.cancel()
    with pytest.raises(Exception, match="cancelled"):
        call.check()
