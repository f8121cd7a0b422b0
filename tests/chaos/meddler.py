"""A writer that has no business on the bus: it repeats, shuffles, delays and cuts short what others wrote."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass

from anygpt import topology
from anygpt.bus import Bus, Record
from anygpt.connections import open_bus
from tests.chaos.cluster import Cluster
from tests.chaos.storm import Fault

MEDDLED = "meddled"
HANDFUL = 8
"""Records that are shuffled together."""
SECONDS = 8.0
LATE_S = 4.0
WORK = tuple(entry.topic for entry in topology.STAGES.values())

Prank = Callable[[list[Record], random.Random], list[tuple[Record, bytes]]]


def _repeated(records: list[Record], chance: random.Random) -> list[tuple[Record, bytes]]:
    return [(record, record.value) for record in records for _ in range(2)]


def _shuffled(records: list[Record], chance: random.Random) -> list[tuple[Record, bytes]]:
    return [(record, record.value) for record in chance.sample(records, len(records))]


def _cut_short(records: list[Record], chance: random.Random) -> list[tuple[Record, bytes]]:
    return [(record, record.value[: chance.randrange(1, len(record.value))]) for record in records]


@dataclass(frozen=True)
class Meddler:
    """Follows topics and writes again what it reads there, in its own way."""

    topics: Sequence[str]
    prank: Prank
    handful: int = 1
    late_s: float = 0.0

    @asynccontextmanager
    async def at_work(self, cluster: Cluster) -> AsyncIterator[None]:
        """Meddle until the context ends."""
        async with AsyncExitStack() as stack:
            bus = await open_bus(cluster.settings)
            stack.push_async_callback(bus.close)
            tasks = [asyncio.create_task(self._meddle(bus, topic)) for topic in self.topics]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _meddle(self, bus: Bus, topic: str) -> None:
        held: list[Record] = []
        chance = random.Random(topic)
        async with aclosing(bus.follow(topic)) as records:
            async for record in records:
                if MEDDLED in record.headers:
                    continue
                held.append(record)
                if len(held) >= self.handful:
                    await asyncio.sleep(self.late_s)
                    for each, value in self.prank(held, chance):
                        await bus.publish(topic, each.key, value, {**each.headers, MEDDLED: "1"})
                    held = []


def _fault(name: str, meddler: Meddler) -> Fault:
    async def strike(cluster: Cluster) -> None:
        async with meddler.at_work(cluster):
            await asyncio.sleep(SECONDS)

    return Fault(name, strike)


JOURNAL = (topology.REPLIES,)
EVERYTHING_REPEATED = _fault("everything repeated", Meddler((*WORK, *JOURNAL), _repeated))


def pranks() -> list[Fault]:
    """Every way to meddle, with the stages' work and with the journal."""
    kinds = {
        "messages repeated out of order": Meddler(WORK, _shuffled, HANDFUL),
        "messages repeated late": Meddler(WORK, _repeated, late_s=LATE_S),
        "messages cut short": Meddler(WORK, _cut_short),
        "records of the journal repeated out of order": Meddler(JOURNAL, _shuffled, HANDFUL),
        "records of the journal cut short": Meddler(JOURNAL, _cut_short),
    }
    return [EVERYTHING_REPEATED, *(_fault(name, meddler) for name, meddler in kinds.items())]
