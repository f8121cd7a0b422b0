"""A bus without room: a request whose end could not be written at once ends all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.client import AsyncClient, Options
from anygpt.errors import Exhausted
from anygpt.main import Runtime
from anygpt.v1 import bus_pb2
from tests.flow.inside import inside

REFUSALS = 2
GIVEN_UP_S = 1.0


class CrowdedBus(MemoryBus):
    """A bus that has no room for the first records of one kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.left = REFUSALS
        self._kind = kind

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See Bus."""
        if topic == topology.REPLIES and bus_pb2.Reply.FromString(value).WhichOneof("body") == self._kind:
            self.left -= 1
            if self.left >= 0:
                raise Exhausted("full", reason="BUS_FULL", retry_after_ms=100)
        await super().publish(topic, key, value, headers)


async def test_a_request_whose_end_finds_no_room_ends_when_there_is_some(
    plain_pack: Path, tmp_path: Path
) -> None:
    async with _crowded(plain_pack, tmp_path, "terminal") as client:
        answer = await client.answer("hello", options=Options(want=["text"], timeout_s=20))
        assert answer.text.strip() == "hello"


async def test_a_request_that_finds_no_room_leaves_neither_its_turn_nor_its_key_behind(
    plain_pack: Path, tmp_path: Path
) -> None:
    async with _crowded(plain_pack, tmp_path, "accepted") as client:
        options = Options(
            want=["text"],
            conversation_id=await client.new_conversation(),
            idempotency_key="key",
            timeout_s=20,
        )
        for _ in range(REFUSALS):
            with pytest.raises(Exhausted):
                [event async for event in client.stream(await client.request("hello", options=options))]
        answer = await client.answer("hello", options=options)
        assert answer.text.strip() == "hello"


async def test_a_client_that_leaves_is_given_up_when_there_is_room_to_say_so(
    plain_pack: Path, tmp_path: Path
) -> None:
    async with _crowded(plain_pack, tmp_path, "cancel") as client:
        request = await client.request("hang", options=Options(want=["text"]))
        request.grace.FromMilliseconds(0)
        stream = client.stream(request)
        request_id = (await anext(stream)).request_id
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(GIVEN_UP_S)
        last = [event async for event in client.resume(request_id, 0)][-1]
        assert last.cancelled.reason == "CLIENT_GONE"


@asynccontextmanager
async def _crowded(pack: Path, data: Path, kind: str) -> AsyncIterator[AsyncClient]:
    bus = CrowdedBus(kind)

    def crowd(runtime: Runtime) -> None:
        runtime.bus = bus

    async with inside(pack, data, crowd) as (address, _), AsyncClient(address) as client:
        yield client
    assert bus.left < 0
    await bus.close()
