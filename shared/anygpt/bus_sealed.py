"""A bus whose records of the journal are sealed when written, and dropped when read with a seal that is not good."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence

from anygpt import topology
from anygpt.bus import SEAL_HEADER, Bus, Consumer, Follower, Record, Tenure
from anygpt.errors import InvalidInput
from anygpt.seals import Seals, state

log = logging.getLogger(__name__)


class SealedBus:
    """See Bus; all but the journal passes as it is."""

    def __init__(self, bus: Bus, seals: Seals) -> None:
        self._bus = bus
        self._seals = seals

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See Bus."""
        if topic == topology.REPLIES and value:
            statement = state(value, key)
            if statement is None or not statement.is_allowed:
                raise InvalidInput("this writer may not write such a record", field="seal_key")
            headers = {**headers, SEAL_HEADER: self._seals.sign(statement.writer, key, value)}
        await self._bus.publish(topic, key, value, headers)

    async def consume(self, topics: Sequence[str], group: str, unfinished: int | None = None) -> Consumer:
        """See Bus."""
        return _SealedConsumer(await self._bus.consume(topics, group, unfinished), self._seals)

    def follow(self, topic: str, *, since_ms: int | None = None, key: str | None = None) -> Follower:
        """See Bus."""
        return _SealedFollower(self._bus.follow(topic, since_ms=since_ms, key=key), self._seals)

    async def partition_of(self, topic: str, key: str) -> int:
        """See Bus."""
        return await self._bus.partition_of(topic, key)

    async def close(self) -> None:
        """See Bus."""
        await self._bus.close()


class _SealedConsumer:
    def __init__(self, consumer: Consumer, seals: Seals) -> None:
        self._consumer = consumer
        self._seals = seals

    async def __aiter__(self) -> AsyncIterator[Record]:
        async for record in self._consumer:
            if _is_good(record, self._seals):
                yield record
            else:
                self._consumer.finish(record)

    def finish(self, record: Record) -> None:
        self._consumer.finish(record)

    def tenure(self, record: Record) -> Tenure | None:
        return self._consumer.tenure(record)

    async def close(self) -> None:
        await self._consumer.close()


class _SealedFollower:
    def __init__(self, follower: Follower, seals: Seals) -> None:
        self._follower = follower
        self._seals = seals

    @property
    def is_current(self) -> bool:
        return self._follower.is_current

    def __aiter__(self) -> AsyncIterator[Record]:
        return self

    async def __anext__(self) -> Record:
        while not _is_good(record := await anext(self._follower), self._seals):
            pass
        return record

    async def aclose(self) -> None:
        await self._follower.aclose()


def _is_good(record: Record, seals: Seals) -> bool:
    if record.topic != topology.REPLIES or not record.value:
        return True
    if seals.is_good(record.value, record.key, record.headers.get(SEAL_HEADER, "")):
        return True
    log.error("a record of the journal at offset %d is not sealed by its writer", record.offset)
    return False
