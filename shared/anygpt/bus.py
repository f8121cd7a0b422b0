"""The bus: ordered, partitioned, durable streams of records.

`kafka.py` is the real one, `bus_memory.py` its in-process twin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from anygpt.errors import TooLarge

REQUEST_HEADER = "request"
TENANT_HEADER = "tenant"
DEADLINE_HEADER = "deadline"
"""Absolute, Unix milliseconds."""
ATTEMPT_HEADER = "attempt"
SPAN_HEADER = "span"
SCHEMA_HEADER = "schema"
TRACE_HEADER = "traceparent"


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it lies on the bus."""

    topic: str
    partition: int
    offset: int
    key: str
    value: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    timestamp_ms: int = 0


class Consumer(Protocol):
    """A member of a consumer group: the group's members share the partitions of its topics."""

    def __aiter__(self) -> AsyncIterator[Record]:
        """Records of the assigned partitions, in order within each; at least once."""
        ...

    def finish(self, record: Record) -> None:
        """Tell that a record needs no redelivery; the contiguous finished offset is committed in the
        background.

        Records past the oldest unfinished one are delivered up to a bound, then the partition
        waits.
        """
        ...

    async def close(self) -> None:
        """Commit what is finished and leave the group."""
        ...


class Bus(Protocol):
    """Publish, share, follow."""

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Append a record to the partition that `key` names; returns once it is acknowledged.

        Calls that one task makes in order stay in order. Raises TooLarge above the one size limit, Exhausted
        when the bus is full, Unavailable when the broker does not answer, Precondition when there is no such
        topic.
        """
        ...

    async def consume(self, topics: Sequence[str], group: str) -> Consumer:
        """Join `group`; returns when this member has its first assignment."""
        ...

    def follow(
        self, topic: str, *, since_ms: int | None = None, key: str | None = None
    ) -> AsyncGenerator[Record]:
        """Read without a group: all partitions, or only that of `key`.

        From the end (None: records published after the first `anext` began), or from the records at or after
        `since_ms` on. Ends with the bus; whoever leaves earlier calls `aclose`. Raises OutOfRange when it
        falls behind what is kept.
        """
        ...

    async def partition_of(self, topic: str, key: str) -> int:
        """The partition that `key` names."""
        ...

    async def close(self) -> None:
        """Flush and disconnect; consumers and followers end."""
        ...


def check_size(key: str, value: bytes, headers: Mapping[str, str], limit_bytes: int) -> int:
    """The bytes that a record takes on the bus. Raises TooLarge above `limit_bytes`."""
    size = len(key) + len(value) + sum(len(name) + len(text) for name, text in headers.items())
    if size > limit_bytes:
        raise TooLarge(f"a record of {size} bytes exceeds the limit of {limit_bytes} bytes")
    return size


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
