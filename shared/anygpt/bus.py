"""The bus: ordered, partitioned, durable streams of records.

`kafka.py` is the real one, `bus_memory.py` its in-process twin.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from anygpt.errors import TooLarge

REQUEST_HEADER = "request"
TENANT_HEADER = "tenant"
CONVERSATION_HEADER = "conversation"
"""So that what is buried of a request can be erased with its conversation."""
DEADLINE_HEADER = "deadline"
"""Absolute, Unix milliseconds."""
ATTEMPT_HEADER = "attempt"
SPAN_HEADER = "span"
SCHEMA_HEADER = "schema"
SEAL_HEADER = "seal"
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


@dataclass(frozen=True, slots=True)
class Tenure:
    """A member's hold of a partition, from when the group gave it to when another member gets it."""

    epoch: int
    """Higher than that of every earlier tenure of the partition."""
    first_new: int
    """Records from this offset on came during the tenure; those before may have been delivered to others."""


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

    def tenure(self, record: Record) -> Tenure | None:
        """How this member holds the record's partition now; None: it went to another, or has not begun."""
        ...

    async def close(self) -> None:
        """Commit what is finished and leave the group."""
        ...


class Follower(Protocol):
    """A reader without a group; it ends with the bus or by `aclose` (contextlib.aclosing calls that)."""

    @property
    def is_current(self) -> bool:
        """Whether all that was there when it began has been delivered: a silence before that means nothing."""
        ...

    def __aiter__(self) -> AsyncIterator[Record]:
        """Records in order within each partition."""
        ...

    async def __anext__(self) -> Record:
        """The next record."""
        ...

    async def aclose(self) -> None:
        """Stop reading."""
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

    async def consume(self, topics: Sequence[str], group: str, unfinished: int | None = None) -> Consumer:
        """Join `group`; returns when this member has its first assignment.

        `unfinished` bounds the records of a partition past the oldest unfinished one; None: as set for all.
        """
        ...

    def follow(self, topic: str, *, since_ms: int | None = None, key: str | None = None) -> Follower:
        """Read without a group: all partitions, or only that of `key`.

        From the end (None: what is published after this call, by this process and by whoever heard of it),
        or from the records at or after `since_ms` on. Raises OutOfRange when the reader falls behind what is
        kept.
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
