"""Memberships that end before the bus does: whoever lost one joins again, and its work goes on."""

from __future__ import annotations

import asyncio
from pathlib import Path

from anygpt.bus_memory import MemoryBus, MemoryConsumer
from anygpt.doors import BusDoor
from anygpt.errors import Unavailable
from anygpt.store_folder import FolderStore
from anygpt.turns import Turns
from tests.flow.stages import ScriptedGenerator
from tests.unit.doors.test_bus_door import ENTRY, Bench, question


class Losing(MemoryBus):
    """A bus whose members can be thrown out."""

    def __init__(self) -> None:
        super().__init__()
        self.joined: list[MemoryConsumer] = []

    async def consume(self, topics: object, group: str, unfinished: int | None = None) -> MemoryConsumer:
        """Remember who joined."""
        member = await super().consume(topics, group, unfinished)  # type: ignore[arg-type]
        self.joined.append(member)
        return member


async def test_a_door_that_was_thrown_out_of_its_group_joins_again(tmp_path: Path) -> None:
    bus = Losing()
    door = BusDoor(ENTRY, ScriptedGenerator(), bus, await FolderStore(tmp_path).open(), Turns(4))
    await door.open(600_000)
    bench = Bench(bus, door)
    request_id = await bench.ask(question("slow slow slow slow hello"))
    while not door.running:
        await asyncio.sleep(0.01)
    bus.joined[0].end(Unavailable("thrown out"))
    bus.joined[0].detach()
    replies = await bench.replies(request_id, "finished")
    assert [reply.WhichOneof("body") for reply in replies].count("claimed") == 2
    assert len(bus.joined) == 2
    await door.close()
    await bus.close()
