"""The in-process twin of the real bus: one event loop, nothing survives the process."""

from __future__ import annotations

import asyncio
import time
import zlib
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace

from anygpt.bus import Record, Tenure, check_size
from anygpt.bus_reader import Reader, Unfinished
from anygpt.errors import Exhausted, OutOfRange, Precondition, Unavailable
from anygpt.settings import MIB, LimitSettings
from anygpt.topology import TOPICS, Topic

RECORD_OVERHEAD = 512
"""Bytes of memory that a record takes besides what it carries."""
HOUSEKEEPING_RECORDS = 32


class MemoryBus:
    """Partitions are lists, kept for their topic's retention and within `retained_bytes` in all.

    When that is full, what every group with members has finished goes first; when nothing can go, publishing
    raises Exhausted.
    """

    def __init__(
        self,
        limits: LimitSettings | None = None,
        topics: Mapping[str, Topic] = TOPICS,
        retained_bytes: int = 256 * MIB,
    ) -> None:
        self._limits = limits or LimitSettings()
        self._topics = {
            name: [_Partition(topic, number) for number in range(topic.partitions)]
            for name, topic in topics.items()
        }
        self._groups: dict[str, _Group] = {}
        self._followers: set[MemoryFollower] = set()
        self._retained_bytes = retained_bytes
        self._size = 0
        self._closed = False

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See Bus. Other tasks get a turn now and then, so that no publisher starves its readers."""
        size = check_size(key, value, headers, self._limits.message_bytes) + RECORD_OVERHEAD
        partition = self._partition(topic, key)
        if self._closed:
            raise Unavailable("the bus is closed")
        if self._size + size > self._retained_bytes:
            self._make_room(size)
        self._size += size
        partition.append(key, value, headers, size)
        if not partition.end % HOUSEKEEPING_RECORDS:
            self._size -= partition.expire()
            await asyncio.sleep(0)

    async def consume(
        self, topics: Sequence[str], group: str, unfinished: int | None = None
    ) -> MemoryConsumer:
        """See Bus. A new group begins with the oldest record that is kept."""
        partitions = [partition for topic in topics for partition in self._partitions(topic)]
        members = self._groups.setdefault(group, _Group())
        consumer = MemoryConsumer(members, partitions, unfinished or self._limits.unfinished_records)
        members.join(consumer)
        return consumer

    def follow(self, topic: str, *, since_ms: int | None = None, key: str | None = None) -> MemoryFollower:
        """See Bus."""
        follower = MemoryFollower(self._followers)
        for partition in self._partitions(topic) if key is None else [self._partition(topic, key)]:
            start = partition.end if since_ms is None else partition.offset_at(since_ms)
            _Place(partition, follower, start, bound=None).attach()
        return follower

    async def partition_of(self, topic: str, key: str) -> int:
        """See Bus."""
        return self._partition(topic, key).number

    async def close(self) -> None:
        """See Bus."""
        self._closed = True
        members = [member for group in self._groups.values() for member in group.members]
        for reader in (*members, *self._followers):
            reader.detach()

    def _partitions(self, topic: str) -> list[_Partition]:
        try:
            return self._topics[topic]
        except KeyError:
            raise Precondition(f"there is no topic {topic}") from None

    def _partition(self, topic: str, key: str) -> _Partition:
        partitions = self._partitions(topic)
        return partitions[zlib.crc32(key.encode()) % len(partitions)]

    def _make_room(self, size: int) -> None:
        for partitions in self._topics.values():
            for partition in partitions:
                self._size -= partition.expire() + partition.halve()
        if self._size + size > self._retained_bytes:
            raise Exhausted("the bus is full of unfinished records", reason="BUS_FULL", retry_after_ms=1000)


class _Partition:
    """The records that are kept of one partition, and the places of its readers in it."""

    def __init__(self, topic: Topic, number: int) -> None:
        self.topic = topic
        self.number = number
        self.name = (topic.name, number)
        self.first = 0
        self.end = 0
        self.places: list[_Place] = []
        self._records: list[Record] = []
        self._sizes: list[int] = []

    def append(self, key: str, value: bytes, headers: Mapping[str, str], size: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        if self._records and self._records[-1].timestamp_ms > now_ms:
            now_ms = self._records[-1].timestamp_ms
        self._records.append(
            Record(self.topic.name, self.number, self.end, key, value, dict(headers), now_ms)
        )
        self._sizes.append(size)
        self.end += 1
        if self.topic.is_compacted and not value:
            self._records = [replace(one, value=b"") if one.key == key else one for one in self._records]
        for place in self.places:
            place.wake()

    def at(self, offset: int) -> Record:
        return self._records[offset - self.first]

    def offset_at(self, since_ms: int) -> int:
        return self.first + bisect_left(self._records, since_ms, key=lambda record: record.timestamp_ms)

    def expire(self) -> int:
        """Drop what is older than the retention; returns the bytes freed."""
        return self._drop(self.offset_at(time.time_ns() // 1_000_000 - self.topic.retention_ms))

    def halve(self) -> int:
        """Drop the older half of what no group still needs; returns the bytes freed."""
        needed = min((place.committable for place in self.places), default=self.end)
        return self._drop(self.first + (max(needed - self.first, 0) + 1) // 2)

    def _drop(self, offset: int) -> int:
        count = offset - self.first
        freed = sum(self._sizes[:count])
        del self._records[:count], self._sizes[:count]
        self.first = offset
        return freed


class _Place:
    """Where a reader stands in a partition; with a bound it belongs to a group and has unfinished records."""

    def __init__(
        self, partition: _Partition, reader: _PlacedReader, position: int, bound: int | None, epoch: int = 0
    ) -> None:
        self.tenure = Tenure(epoch, partition.end)
        self.partition = partition
        self.reader = reader
        self.unfinished = Unfinished(position)
        self.is_attached = True
        self._bound = bound
        self._is_queued = False

    @property
    def committable(self) -> int:
        """The oldest offset that its group still needs; a follower needs none."""
        return self.partition.end if self._bound is None else self.unfinished.committable

    def attach(self) -> None:
        self.partition.places.append(self)
        self.reader.places[self.partition.name] = self
        self.wake()

    def detach(self) -> None:
        self.partition.places.remove(self)
        del self.reader.places[self.partition.name]
        self.is_attached = False

    def wake(self) -> None:
        """Queue for the reader's attention, once, if there is a record that may be delivered."""
        if not self._is_queued and self.unfinished.next < self.partition.end and not self._is_full:
            self._is_queued = True
            self.reader.ready(self)

    def take(self) -> Record | None:
        """See Source."""
        partition, unfinished = self.partition, self.unfinished
        self._is_queued = False
        if not self.is_attached or unfinished.next >= partition.end:
            return None
        if unfinished.next < partition.first:
            if self._bound is None:
                raise OutOfRange(f"the oldest records of {partition.topic.name} are no longer kept")
            unfinished.next = partition.first
        record = partition.at(unfinished.next)
        if self._bound is None:
            unfinished.next += 1
        else:
            unfinished.deliver(record.offset)
        self.wake()
        return record

    @property
    def _is_full(self) -> bool:
        return self._bound is not None and len(self.unfinished) >= self._bound


class _PlacedReader(Reader):
    """A reader of the in-process bus."""

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[tuple[str, int], _Place] = {}

    def detach(self) -> None:
        """Leave all places and end."""
        for place in list(self.places.values()):
            place.detach()
        self.end()


class MemoryFollower(_PlacedReader):
    """A reader without a group."""

    def __init__(self, followers: set[MemoryFollower]) -> None:
        super().__init__()
        self._followers = followers
        followers.add(self)

    @property
    def is_current(self) -> bool:
        """See Follower."""
        return all(place.unfinished.next >= place.tenure.first_new for place in self.places.values())

    async def aclose(self) -> None:
        """See Follower."""
        self.detach()
        self._followers.discard(self)


class MemoryConsumer(_PlacedReader):
    """A member of a group of the in-process bus."""

    def __init__(self, group: _Group, partitions: list[_Partition], bound: int) -> None:
        super().__init__()
        self.partitions = partitions
        self.bound = bound
        self._group = group

    def finish(self, record: Record) -> None:
        """See Consumer. A record of a partition that went to another member is ignored."""
        place = self.places.get((record.topic, record.partition))
        if place is not None:
            place.unfinished.finish(record.offset)
            place.wake()

    def tenure(self, record: Record) -> Tenure | None:
        """See Consumer."""
        place = self.places.get((record.topic, record.partition))
        return place.tenure if place is not None else None

    async def close(self) -> None:
        """See Consumer."""
        self.detach()

    def detach(self) -> None:
        """Leave the group; its other members go on with what is unfinished."""
        self._group.leave(self)
        super().detach()


class _Group:
    """The members that share the partitions of their topics, and how far each partition is finished."""

    def __init__(self) -> None:
        self.members: list[MemoryConsumer] = []
        self._committed: dict[tuple[str, int], int] = {}
        self._generation = 0

    def join(self, member: MemoryConsumer) -> None:
        self.members.append(member)
        self._share()

    def leave(self, member: MemoryConsumer) -> None:
        if member in self.members:
            self.members.remove(member)
            for place in list(member.places.values()):
                self._release(place)
            self._share()

    def _share(self) -> None:
        """Give each member its part of each topic and move as few partitions as that takes."""
        self._generation += 1
        topics: dict[str, list[_Partition]] = {}
        for partition in dict.fromkeys(one for member in self.members for one in member.partitions):
            topics.setdefault(partition.topic.name, []).append(partition)
        for partitions in topics.values():
            self._share_topic(partitions)

    def _share_topic(self, partitions: list[_Partition]) -> None:
        held = {
            member: [member.places[one.name] for one in partitions if one.name in member.places]
            for member in self.members
            if partitions[0] in member.partitions
        }
        quota, rest = divmod(len(partitions), len(held))
        free = [one for one in partitions if not any(one.name in member.places for member in held)]
        members = sorted(held, key=lambda member: -len(held[member]))
        for rank, member in enumerate(members):
            for place in held[member][quota + (rank < rest) :]:
                self._release(place)
                free.append(place.partition)
        for rank, member in enumerate(members):
            for _ in range(quota + (rank < rest) - len(held[member])):
                self._give(member, free.pop(0))

    def _give(self, member: MemoryConsumer, partition: _Partition) -> None:
        position = max(self._committed.get(partition.name, 0), partition.first)
        _Place(partition, member, position, member.bound, self._generation).attach()

    def _release(self, place: _Place) -> None:
        self._committed[place.partition.name] = place.unfinished.committable
        place.detach()
