"""A bus without room: a request whose end could not be written at once ends all the same."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.client import AsyncClient, Options
from anygpt.errors import Exhausted
from anygpt.main import Runtime
from anygpt.v1 import bus_pb2
from tests.flow.inside import inside

REFUSALS = 2


class CrowdedBus(MemoryBus):
    """A bus that has no room for the first terminal records."""

    left = REFUSALS

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See Bus."""
        if topic == topology.REPLIES and self.left and bus_pb2.Reply.FromString(value).HasField("terminal"):
            self.left -= 1
            raise Exhausted("full", reason="BUS_FULL", retry_after_ms=1000)
        await super().publish(topic, key, value, headers)


async def test_a_request_whose_end_finds_no_room_ends_when_there_is_some(
    plain_pack: Path, tmp_path: Path
) -> None:
    bus = CrowdedBus()

    def crowd(runtime: Runtime) -> None:
        runtime.bus = bus

    async with inside(plain_pack, tmp_path, crowd) as (address, _), AsyncClient(address) as client:
        answer = await client.answer("hello", options=Options(want=["text"], timeout_s=20))
        assert answer.text.strip() == "hello"
    assert bus.left == 0
    await bus.close()
