"""What the buses' readers share on the event loop: turns of partitions, wake-ups, unfinished records."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol, Self

from anygpt.bus import Record, Tenure


class Source(Protocol):
    """Where a reader takes records of one partition from."""

    def take(self) -> Record | None:
        """The next record, or None when it may not deliver one after all."""
        ...


class Reader:
    """Delivers records of its sources in turn to the one task that iterates; a cancelled wait loses none."""

    def __init__(self) -> None:
        self._ready: deque[Source] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._has_ended = False
        self._error: BaseException | None = None

    def __aiter__(self) -> Self:
        """Itself."""
        return self

    async def __anext__(self) -> Record:
        """The next record, when there is one. Raises what the reader ended with."""
        while not self._has_ended:
            while self._ready:
                record = self._ready.popleft().take()
                if record is not None:
                    return record
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def ready(self, source: Source) -> None:
        """Put a source that has a record at the end of the queue."""
        self._ready.append(source)
        self._wake()

    def end(self, error: BaseException | None = None) -> None:
        """Deliver nothing more; only the first end counts."""
        if not self._has_ended:
            self._has_ended = True
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Unfinished:
    """What was delivered of one partition and is not finished; its oldest bounds what is committed."""

    __slots__ = ("_delivered", "_finished", "next")

    def __init__(self, position: int) -> None:
        self.next = position
        self._delivered: deque[int] = deque()
        self._finished: set[int] = set()

    def __len__(self) -> int:
        """Records from the oldest unfinished one on, finished ones among them included."""
        return len(self._delivered)

    @property
    def committable(self) -> int:
        """The offset below which everything is finished."""
        return self._delivered[0] if self._delivered else self.next

    def deliver(self, offset: int) -> None:
        """Note that the record at `offset` was handed out; offsets rise, with gaps or without."""
        self._delivered.append(offset)
        self.next = offset + 1

    def finish(self, offset: int) -> None:
        """Note that a record is finished; one that is not waited for is ignored."""
        if not self.committable <= offset < self.next:
            return
        self._finished.add(offset)
        while self._delivered and self._delivered[0] in self._finished:
            self._finished.remove(self._delivered.popleft())


class Backlog:
    """Records of one partition that came from a server, to deliver in order, within the bound."""

    def __init__(self, reader: Reader, bound: int | None, epoch: int = 0) -> None:
        self.tenure: Tenure | None = None
        self._epoch = epoch
        self._reader = reader
        self._bound = bound
        self._records: deque[Record] = deque()
        self._unfinished = Unfinished(0)
        self._is_queued = False
        self.size_bytes = 0

    def __len__(self) -> int:
        """Records that wait for delivery."""
        return len(self._records)

    def begin(self, end: int) -> None:
        """Note where the partition ended when its first records came; only the first call counts."""
        self.tenure = self.tenure or Tenure(self._epoch, end)

    def add(self, records: list[Record]) -> None:
        """Append what arrived."""
        self._records.extend(records)
        self.size_bytes += sum(len(record.value) for record in records)
        self._offer()

    def take(self) -> Record | None:
        """See Source."""
        self._is_queued = False
        if not self._records:
            return None
        record = self._records.popleft()
        self.size_bytes -= len(record.value)
        if self._bound is not None:
            self._unfinished.deliver(record.offset)
        self._offer()
        return record

    def finish(self, offset: int) -> int | None:
        """Note that a record is finished; returns the new offset to commit when that moves it."""
        before = self._unfinished.committable
        self._unfinished.finish(offset)
        self._offer()
        after = self._unfinished.committable
        return after if after > before else None

    def drop(self) -> None:
        """Forget what was not delivered: the partition is another member's."""
        self._records.clear()

    def _offer(self) -> None:
        is_full = self._bound is not None and len(self._unfinished) >= self._bound
        if self._records and not is_full and not self._is_queued:
            self._is_queued = True
            self._reader.ready(self)
