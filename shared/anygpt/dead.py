"""Dead letters: what a stage could not handle lies in its dead-letter topic, under an id of its own.

A letter that was replayed or purged leaves an empty record under its id, and compaction removes both.
"""

from __future__ import annotations

import logging
from contextlib import aclosing

from anygpt import topology
from anygpt.bus import Bus, Record
from anygpt.errors import AnyGPTError, Exhausted, TooLarge, Unavailable
from anygpt.identity import new_id
from anygpt.metrics import DEAD_LETTERS
from anygpt.v1 import bus_pb2

log = logging.getLogger(__name__)


async def read_letters(bus: Bus, entry: topology.StageEntry) -> dict[str, bus_pb2.DeadLetter]:
    """The letters that a stage has now, by their ids."""
    letters: dict[str, bus_pb2.DeadLetter] = {}
    end = new_id()
    await bus.publish(entry.dead_topic, end, b"", {})
    async with aclosing(bus.follow(entry.dead_topic, since_ms=0)) as records:
        async for record in records:
            if record.key == end:
                break
            if record.value:
                letters[record.key] = bus_pb2.DeadLetter.FromString(record.value)
            else:
                letters.pop(record.key, None)
    return letters


async def purge(bus: Bus, entry: topology.StageEntry, letter_id: str) -> None:
    """Have a letter removed."""
    await bus.publish(entry.dead_topic, letter_id, b"", {})


async def bury(bus: Bus, entry: topology.StageEntry, record: Record, error: AnyGPTError) -> bool:
    """Write a record and its failure into the stage's dead-letter topic; False when the bus does not take it now.

    A record that is too large with what is said about it leaves its headers and its failure alone.
    """
    letter = bus_pb2.DeadLetter(
        topic=record.topic, partition=record.partition, offset=record.offset, key=record.key.encode(),
        value=record.value, headers=dict(record.headers), failure=error.to_failure(entry.name),
    )  # fmt: skip
    letter.failed_at.GetCurrentTime()
    try:
        await _publish(bus, entry, letter)
    except (Unavailable, Exhausted):
        log.warning("stage %s could not bury a record: %s", entry.name, error.reason)
        return False
    DEAD_LETTERS.labels(entry.name).inc()
    log.warning("stage %s buried a record: %s", entry.name, error.reason)
    return True


async def _publish(bus: Bus, entry: topology.StageEntry, letter: bus_pb2.DeadLetter) -> None:
    try:
        await bus.publish(entry.dead_topic, new_id(), letter.SerializeToString(), {})
    except TooLarge:
        letter.ClearField("value")
        await bus.publish(entry.dead_topic, new_id(), letter.SerializeToString(), {})
