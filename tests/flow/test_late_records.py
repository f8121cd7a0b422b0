"""A journal whose first record comes once more when all is over: nobody does the work again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.client import AsyncClient, Options
from anygpt.main import Runtime
from anygpt.v1 import bus_pb2
from tests.flow.inside import inside

LATE_S = 0.5


class RecordingBus(MemoryBus):
    """A bus that keeps what was written to the journal."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[tuple[str, bytes, Mapping[str, str]]] = []

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See Bus."""
        if topic == topology.REPLIES:
            self.journal.append((key, value, headers))
        await super().publish(topic, key, value, headers)


async def test_a_request_that_is_accepted_once_more_after_its_end_begins_nothing(
    plain_pack: Path, tmp_path: Path
) -> None:
    bus = RecordingBus()

    def record(runtime: Runtime) -> None:
        runtime.bus = bus

    async with inside(plain_pack, tmp_path, record) as (address, _), AsyncClient(address) as client:
        asked = Options(want=["text"], conversation_id=await client.new_conversation())
        await client.answer("hello", options=asked)
        written = list(bus.journal)
        accepted = next(one for one in written if bus_pb2.Reply.FromString(one[1]).HasField("accepted"))
        await bus.publish(topology.REPLIES, *accepted)
        await asyncio.sleep(LATE_S)
        assert bus.journal == [*written, accepted]
        assert (await client.answer("and again", options=asked)).text
    await bus.close()
