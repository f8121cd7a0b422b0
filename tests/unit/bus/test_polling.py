"""A member of a group on a client with threads: what it commits, and when."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from queue import Empty, Queue

from anygpt.bus import Record
from anygpt.bus_polling import Offsets, Partition, PolledMember

PLACE = ("work", 0)
WAIT_S = 5.0


class ScriptedClient:
    """A client whose polls give what the test puts in, and whose commits fail when the test says so."""

    def __init__(self, member: PolledMember) -> None:
        self.batches: Queue[list[Record]] = Queue()
        self.commits: Queue[tuple[Offsets, Callable[[Offsets], None] | None]] = Queue()
        member.give({PLACE}, 1)

    def poll(self) -> Mapping[Partition, list[Record]]:
        """See PolledClient."""
        try:
            return {PLACE: self.batches.get(timeout=0.01)}
        except Empty:
            return {}

    def end(self, partition: Partition) -> int:
        """See PolledClient."""
        return 0

    def pause(self, partitions: frozenset[Partition]) -> None:
        """See PolledClient."""

    def commit(self, offsets: Offsets, failed: Callable[[Offsets], None] | None) -> None:
        """See PolledClient."""
        self.commits.put((dict(offsets), failed))

    def is_member(self) -> bool:
        """See PolledClient."""
        return True

    def close(self) -> None:
        """See PolledClient."""


async def test_a_commit_that_fails_late_does_not_undo_a_later_one() -> None:
    made: list[ScriptedClient] = []
    is_made = threading.Event()

    def connect(member: PolledMember) -> ScriptedClient:
        made.append(ScriptedClient(member))
        is_made.set()
        return made[0]

    member = PolledMember(connect, bound=8)
    member.start()
    await asyncio.to_thread(is_made.wait, WAIT_S)
    client = made[0]
    client.batches.put([Record(*PLACE, offset, "key", b"", {}, 0) for offset in range(2)])
    first, second = await anext(member), await anext(member)

    member.finish(first)
    early, fail = await asyncio.to_thread(client.commits.get, timeout=WAIT_S)
    member.finish(second)
    late, _ = await asyncio.to_thread(client.commits.get, timeout=WAIT_S)
    assert fail is not None
    fail(early)
    again, _ = await asyncio.to_thread(client.commits.get, timeout=WAIT_S)
    await member.close()

    assert [early, late, again] == [{PLACE: 1}, {PLACE: 2}, {PLACE: 2}]
