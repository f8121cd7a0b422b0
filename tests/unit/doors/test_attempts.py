"""Attempts at a stage's bus door: what a successor knows, what poison is, whose work counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.attempts import journal_begin_ms, new_attempt
from anygpt.bus import ATTEMPT_HEADER
from anygpt.bus_memory import MemoryBus
from anygpt.doors import BusDoor
from anygpt.errors import Unavailable
from anygpt.identity import new_request_id
from anygpt.stage import Call, Stage, now_ms
from anygpt.store_folder import FolderStore
from anygpt.turns import Turns
from anygpt.v1 import bus_pb2, stages_pb2, types_pb2
from tests.unit.doors.test_bus_door import ENTRY, Bench, headers, question

Request = stages_pb2.GenerateTokensRequest
Response = stages_pb2.GenerateTokensResponse


class Recorder(Stage[Request, Response]):
    """Notes what it is asked; its answer is one text, and it fails as often as it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.asked: list[Request] = []
        self.errors = list(errors)
        self.may_go = asyncio.Event()
        self.may_go.set()

    async def handle(self, requests: AsyncIterator[Request], call: Call) -> AsyncIterator[Response]:
        """Text, a media span, the end."""
        async for request in requests:
            self.asked.append(request)
            while not self.may_go.is_set():
                call.check()
                await asyncio.sleep(0.01)
            if self.errors:
                raise self.errors.pop(0)
            yield Response(span_index=0, text=stages_pb2.TextChunk(text="hello", ids=[7]))
            yield Response(span_index=1, span_opened=stages_pb2.SpanOpened(modality=topology.IMAGE))
            signals = types_pb2.Signals(modality=topology.IMAGE)
            yield Response(span_index=1, signals=signals)
            yield Response(span_index=1, span_closed=stages_pb2.SpanClosed(ids=[8, 9]))
            yield Response(finished=stages_pb2.GenerationFinished())


class Room:
    """A bus, and doors of one stage on it."""

    def __init__(self, bus: MemoryBus, folder: Path) -> None:
        self.bus = bus
        self._folder = folder
        self._doors: list[BusDoor] = []

    async def open(self, stage: Stage[Request, Response], limit: int = 4) -> BusDoor:
        door = BusDoor(ENTRY, stage, self.bus, await FolderStore(self._folder).open(), Turns(limit))
        await door.open(600_000)
        self._doors.append(door)
        return door

    async def ask(self, request_id: str = "", sender: str = "") -> str:
        """Publish work; return its request id."""
        request_id = request_id or new_request_id()
        fields = {**headers(request_id), ATTEMPT_HEADER: sender or new_attempt(1)}
        await self.bus.publish(ENTRY.topic, request_id, question("hello"), fields)
        return request_id

    async def write(self, request_id: str, attempt: str, bodies: Sequence[bus_pb2.Reply]) -> None:
        """Write the journal of an attempt of a replica that is no more."""
        for seq, body in enumerate(bodies):
            body.stage, body.attempt, body.seq, body.request_id = ENTRY.name, attempt, seq, request_id
            body.span_index = body.generated.span_index
            await self.bus.publish(topology.REPLIES, request_id, body.SerializeToString(), {})

    async def replies(self, request_id: str, until: str) -> list[bus_pb2.Reply]:
        """The journal up to a body of that name."""
        return await Bench(self.bus, self._doors[0]).replies(request_id, until)

    async def close(self) -> None:
        for door in self._doors:
            await door.close()
        await self.bus.close()


@pytest.fixture
async def room(tmp_path: Path) -> AsyncIterator[Room]:
    made = Room(MemoryBus(), tmp_path)
    yield made
    await made.close()


CLAIMED = bus_pb2.Reply(claimed=bus_pb2.AttemptClaimed())
TEXT = bus_pb2.Reply(generated=Response(text=stages_pb2.TextChunk(text="hel", ids=[5, 6])))
OPENED = bus_pb2.Reply(
    generated=Response(span_index=1, span_opened=stages_pb2.SpanOpened(modality=topology.IMAGE))
)
CLOSED = bus_pb2.Reply(generated=Response(span_index=1, span_closed=stages_pb2.SpanClosed(ids=[8, 9])))


async def test_a_claim_stands_before_anything_else_of_an_attempt(room: Room) -> None:
    await room.open(Recorder())
    replies = await room.replies(await room.ask(), "finished")
    assert replies[0].HasField("claimed")
    assert len({reply.attempt for reply in replies}) == 1


async def test_a_successor_is_given_the_ids_that_were_published(room: Room) -> None:
    request_id = await room.ask()
    await room.write(request_id, new_attempt(1), [CLAIMED, TEXT])
    stage = Recorder()
    await room.open(stage)
    await room.replies(request_id, "finished")
    assert list(stage.asked[0].forced_ids) == [5, 6]


async def test_spans_that_are_whole_are_not_sent_to_their_decoder_again(room: Room) -> None:
    request_id = await room.ask()
    await room.write(request_id, new_attempt(1), [CLAIMED, TEXT, OPENED, CLOSED])
    decoder = await room.bus.consume([topology.DECODERS[topology.IMAGE].topic], "decoder")
    stage = Recorder()
    await room.open(stage)
    await room.replies(request_id, "finished")
    assert list(stage.asked[0].forced_ids) == [5, 6, 8, 9]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(aiter(decoder)), 0.2)


async def test_work_that_was_done_is_not_done_again(room: Room) -> None:
    request_id = await room.ask()
    finished = bus_pb2.Reply(generated=Response(finished=stages_pb2.GenerationFinished()))
    await room.write(request_id, new_attempt(0), [CLAIMED, finished])
    stage = Recorder()
    await room.open(stage)
    await room.replies(request_id, "released")
    assert stage.asked == []


async def test_work_that_two_replicas_died_of_is_poison(room: Room) -> None:
    request_id = await room.ask()
    for _ in range(2):
        await room.write(request_id, new_attempt(0), [CLAIMED])
    stage = Recorder()
    door = await room.open(stage)
    assert (await room.replies(request_id, "failure"))[-1].failure.reason == "POISON"
    assert (await Bench(room.bus, door).dead_letter()).headers["request"] == request_id
    assert stage.asked == []


async def test_attempts_that_were_given_back_do_not_make_poison(room: Room) -> None:
    request_id = await room.ask()
    released = bus_pb2.Reply(released=bus_pb2.AttemptReleased())
    for _ in range(3):
        await room.write(request_id, new_attempt(0), [CLAIMED, released])
    await room.open(Recorder())
    assert await room.replies(request_id, "finished")


async def test_one_crash_is_forgiven(room: Room) -> None:
    stage = Recorder(RuntimeError("as asked"))
    await room.open(stage)
    assert await room.replies(await room.ask(), "finished")
    assert len(stage.asked) == 2


async def test_a_server_that_is_away_for_a_while_fails_nothing(room: Room) -> None:
    away = [Unavailable("away", retry_after_ms=10) for _ in range(3)]
    stage = Recorder(*away)
    await room.open(stage)
    assert await room.replies(await room.ask(), "finished")
    assert len(stage.asked) == 4


async def test_what_a_closing_door_has_not_done_is_given_back(room: Room) -> None:
    stage = Recorder()
    stage.may_go.clear()
    door = await room.open(stage)
    request_id = await room.ask()
    while not stage.asked:
        await asyncio.sleep(0.01)
    await door.close()
    successor = Recorder()
    await room.open(successor)
    replies = await room.replies(request_id, "finished")
    bodies = [reply.WhichOneof("body") for reply in replies]
    assert bodies[:3] == ["claimed", "released", "claimed"]


async def test_a_later_sender_s_work_takes_the_place_of_an_earlier_one_s(room: Room) -> None:
    stage = Recorder()
    stage.may_go.clear()
    await room.open(stage)
    request_id = await room.ask(sender=new_attempt(1))
    while not stage.asked:
        await asyncio.sleep(0.01)
    await room.ask(request_id, new_attempt(2))
    await room.ask(request_id, new_attempt(1))
    while len(stage.asked) < 2:
        await asyncio.sleep(0.01)
    stage.may_go.set()
    await room.replies(request_id, "finished")
    await asyncio.sleep(0.05)
    assert len(stage.asked) == 2


async def test_a_cancelled_request_leaves_the_queue_at_once(room: Room) -> None:
    stage = Recorder()
    stage.may_go.clear()
    door = await room.open(stage, limit=1)
    await room.ask()
    waiting = await room.ask()
    while door.running < 2:
        await asyncio.sleep(0.01)
    order = bus_pb2.Control(cancel=types_pb2.CancelOrder(request_id=waiting))
    await room.bus.publish(topology.CONTROL, waiting, order.SerializeToString(), {})
    assert (await room.replies(waiting, "failure"))[-1].failure.code == 1
    assert len(stage.asked) == 1


def test_the_journal_of_a_request_from_a_clock_that_is_ahead_is_read_from_its_begin() -> None:
    now = now_ms()
    assert 0 < journal_begin_ms(f"{now:012x}{'0' * 20}") < now
    assert journal_begin_ms(f"{now + 3_600_000:012x}{'0' * 20}") == 0
    assert journal_begin_ms("no id of ours") == 0
