"""The bus: ordered, partitioned, durable streams of records. `kafka.py` is the real one, `MemoryBus` its twin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

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
        """Tell that a record needs no redelivery; the contiguous finished offset is committed in the background.

        Records past the oldest unfinished one are delivered up to a bound, then the partition waits.
        """
        ...

    async def close(self) -> None:
        """Commit what is finished and leave the group."""
        ...


class Bus(Protocol):
    """Publish, share, follow."""

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """Append a record to the partition that `key` names; returns once it is acknowledged.

        Calls that one task makes in order stay in order. Raises TooLarge above the one size limit, Unavailable when
        the broker does not answer.
        """
        ...

    async def consume(self, topics: Sequence[str], group: str) -> Consumer:
        """Join `group`; returns when this member has its first assignment."""
        ...

    def follow(self, topic: str, *, since_ms: int | None = None, key: str | None = None) -> AsyncIterator[Record]:
        """Read without a group: all partitions, or only that of `key`.

        From the end (None: records published after the first `anext` began), or from the records at or after
        `since_ms` on. Never ends by itself.
        """
        ...

    async def partition_of(self, topic: str, key: str) -> int:
        """The partition that `key` names."""
        ...

    async def close(self) -> None:
        """Flush and disconnect; consumers and followers end."""
        ...
