"""One contract for every bus: the in-process twin and Apache Kafka behave the same."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import pytest

from anygpt.bus import Bus, Consumer, Follower, Record
from anygpt.bus_memory import MemoryBus
from anygpt.connections import open_bus
from anygpt.errors import Precondition, TooLarge
from anygpt.kafka import create_topics
from anygpt.settings import LimitSettings, ServiceSettings
from anygpt.topology import GENERATOR, TOPICS, Topic

PARTITIONS = 4
LIMITS = LimitSettings(message_bytes=100_000, unfinished_records=8)
WAIT_S = 20.0


@dataclass
class Street:
    """A bus with one topic of this test alone."""

    bus: Bus
    topic: str

    async def publish(self, key: str, *values: str) -> None:
        for value in values:
            await self.bus.publish(self.topic, key, value.encode(), {"request": key})

    async def join(self, group: str) -> Consumer:
        return await self.bus.consume([self.topic], group)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.integration)])
async def street(request: pytest.FixtureRequest) -> AsyncIterator[Street]:
    name = f"test.{uuid.uuid4().hex}"
    topics = {name: Topic(name, TOPICS[GENERATOR.topic].message, (), (), PARTITIONS, 60_000)}
    bus: Bus
    if request.param == "memory":
        bus = MemoryBus(LIMITS, topics)
    else:
        settings = ServiceSettings(bus=request.getfixturevalue("kafka"), limits=LIMITS)
        await create_topics(settings, topics)
        bus = await open_bus(settings)
    yield Street(bus, name)
    await bus.close()


async def read(reader: Consumer | Follower, count: int) -> list[Record]:
    """The next `count` records."""
    records = aiter(reader)
    async with asyncio.timeout(WAIT_S):
        return [await anext(records) for _ in range(count)]


async def silence(reader: Consumer | Follower, seconds: float) -> None:
    """Nothing comes for a while."""
    with contextlib.suppress(TimeoutError):
        record = await asyncio.wait_for(anext(aiter(reader)), seconds)
        raise AssertionError(f"nothing was due, but {record.value!r} came")


def values(records: list[Record]) -> list[str]:
    return [record.value.decode() for record in records]


async def test_records_arrive_whole_and_in_the_order_of_their_key(street: Street) -> None:
    consumer = await street.join("llm")
    for number in range(20):
        await asyncio.gather(*(street.publish(f"key-{key}", str(number)) for key in range(5)))
    seen = defaultdict(list)
    for _ in range(100):
        (record,) = await read(consumer, 1)
        assert (record.topic, record.headers) == (street.topic, {"request": record.key})
        assert record.partition == await street.bus.partition_of(street.topic, record.key)
        assert abs(record.timestamp_ms / 1000 - time.time()) < 60
        seen[record.key].append(int(record.value))
        consumer.finish(record)
    assert seen == {f"key-{key}": list(range(20)) for key in range(5)}


async def test_one_task_s_concurrent_records_keep_their_order(street: Street) -> None:
    async with aclosing(street.bus.follow(street.topic)) as follower:
        numbers = [str(number) for number in range(50)]
        await asyncio.gather(*(street.publish("key", number) for number in numbers))
        assert values(await read(follower, 50)) == numbers


async def test_a_new_group_begins_with_the_oldest_record(street: Street) -> None:
    await street.publish("key", "early")
    assert values(await read(await street.join("late"), 1)) == ["early"]


async def test_each_group_gets_every_record(street: Street) -> None:
    first, second = await street.join("first"), await street.join("second")
    await street.publish("key", "a", "b")
    assert values(await read(first, 2)) == values(await read(second, 2)) == ["a", "b"]


async def test_what_a_member_leaves_unfinished_goes_to_the_next(street: Street) -> None:
    leaving = await street.join("llm")
    await street.publish("key", "finished", "unfinished", "unread")
    finished, _ = await read(leaving, 2)
    leaving.finish(finished)
    await leaving.close()
    assert values(await read(await street.join("llm"), 2)) == ["unfinished", "unread"]


async def test_only_what_is_finished_without_a_gap_is_committed(street: Street) -> None:
    consumer = await street.join("llm")
    await street.publish("key", *"abcde")
    records = await read(consumer, 5)
    for position in (4, 3, 1, 0):
        consumer.finish(records[position])
    await consumer.close()
    successor = await street.join("llm")
    assert values(await read(successor, 3)) == ["c", "d", "e"]


async def test_a_finished_group_has_nothing_to_repeat(street: Street) -> None:
    consumer = await street.join("llm")
    await street.publish("key", "a", "b")
    for record in reversed(await read(consumer, 2)):
        consumer.finish(record)
    await consumer.close()
    successor = await street.join("llm")
    await street.publish("key", "c")
    assert values(await read(successor, 1)) == ["c"]


async def test_two_members_share_the_partitions(street: Street) -> None:
    one = await street.join("llm")
    other = await street.join("llm")
    taken: dict[str, set[int]] = {"one": set(), "other": set()}

    async def work(name: str, consumer: Consumer) -> None:
        async for record in consumer:
            taken[name].add(record.partition)
            consumer.finish(record)

    tasks = [asyncio.create_task(work("one", one)), asyncio.create_task(work("other", other))]
    async with asyncio.timeout(WAIT_S):
        while not (
            taken["one"] and taken["other"] and taken["one"] | taken["other"] == set(range(PARTITIONS))
        ):
            for key in range(20):
                await street.publish(f"key-{key}", "work")
    taken["one"].clear()
    taken["other"].clear()
    for key in range(20):
        await street.publish(f"key-{key}", "more")
    await asyncio.sleep(0.5)
    assert not taken["one"] & taken["other"], "a partition has one member at a time"
    await street.bus.close()
    await asyncio.gather(*tasks)


async def test_unfinished_records_are_bounded_and_finishing_goes_on(street: Street) -> None:
    consumer = await street.join("llm")
    numbers = [str(number) for number in range(30)]
    await street.publish("key", *numbers)
    held = await read(consumer, LIMITS.unfinished_records)
    await silence(consumer, 0.5)
    for record in held[1:]:
        consumer.finish(record)
    await silence(consumer, 0.3)
    consumer.finish(held[0])
    rest: list[Record] = []
    while len(rest) < 30 - len(held):
        rest += await read(consumer, 1)
        consumer.finish(rest[-1])
    assert values(held + rest) == numbers


async def test_a_full_partition_does_not_hold_up_the_others(street: Street) -> None:
    consumer = await street.join("llm")
    keys = [f"key-{number}" for number in range(20)]
    homes = {await street.bus.partition_of(street.topic, key): key for key in keys}
    stuck, free = list(homes.values())[:2]
    await street.publish(stuck, *(["stuck"] * 2 * LIMITS.unfinished_records))
    await read(consumer, LIMITS.unfinished_records)
    await street.publish(free, "free")
    assert values(await read(consumer, 1)) == ["free"]


async def test_a_follower_sees_all_that_is_published_after_it_began(street: Street) -> None:
    await street.publish("key", "before")
    async with aclosing(street.bus.follow(street.topic)) as follower:
        await asyncio.gather(*(street.publish(f"key-{number}", str(number)) for number in range(20)))
        assert sorted(map(int, values(await read(follower, 20)))) == list(range(20))


async def test_a_follower_goes_back_to_a_moment(street: Street) -> None:
    await street.publish("key", "long ago")
    await asyncio.sleep(0.05)
    since_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.05)
    await street.publish("key", "then")
    async with aclosing(street.bus.follow(street.topic, since_ms=since_ms)) as follower:
        assert values(await read(follower, 1)) == ["then"]
        await street.publish("key", "now")
        assert values(await read(follower, 1)) == ["now"]
    async with aclosing(street.bus.follow(street.topic, since_ms=0)) as follower:
        assert values(await read(follower, 3)) == ["long ago", "then", "now"]


async def test_a_follower_is_current_when_it_has_delivered_all_that_was_there(street: Street) -> None:
    await street.publish("key", "one", "two")
    async with aclosing(street.bus.follow(street.topic, since_ms=0, key="key")) as follower:
        await read(follower, 1)
        await street.publish("key", "three")
        told = [follower.is_current]
        await read(follower, 1)
        assert [*told, follower.is_current] == [False, True]
    home = await street.bus.partition_of(street.topic, "key")
    keys = [f"key-{number}" for number in range(20)]
    (elsewhere, *_) = [key for key in keys if await street.bus.partition_of(street.topic, key) != home]
    async with aclosing(street.bus.follow(street.topic, since_ms=0, key=elsewhere)) as follower:
        async with asyncio.timeout(WAIT_S):
            while not follower.is_current:
                await asyncio.sleep(0.01)


async def test_a_follower_of_a_key_reads_only_its_partition(street: Street) -> None:
    home = await street.bus.partition_of(street.topic, "key")
    async with aclosing(street.bus.follow(street.topic, key="key")) as follower:
        for number in range(20):
            await street.publish(f"key-{number}", "other")
        await street.publish("key", "last")
        while (record := (await read(follower, 1))[0]).value != b"last":
            assert record.partition == home


async def test_a_wait_that_is_given_up_loses_no_record(street: Street) -> None:
    async with aclosing(street.bus.follow(street.topic)) as follower:
        for number in range(5):
            await silence(follower, 0.01)
            await street.publish("key", str(number))
            assert values(await read(follower, 1)) == [str(number)]


async def test_a_record_above_the_limit_is_refused_and_one_at_the_limit_is_not(street: Street) -> None:
    async with aclosing(street.bus.follow(street.topic)) as follower:
        room = LIMITS.message_bytes - len("key")
        with pytest.raises(TooLarge):
            await street.bus.publish(street.topic, "key", bytes(room + 1), {})
        with pytest.raises(TooLarge):
            await street.bus.publish(street.topic, "key", bytes(room), {"name": "text"})
        await street.bus.publish(street.topic, "key", bytes(room), {})
        assert len((await read(follower, 1))[0].value) == room


async def test_a_topic_that_is_missing_is_named(street: Street) -> None:
    with pytest.raises(Precondition, match="nowhere"):
        await street.bus.publish("nowhere", "key", b"", {})
    with pytest.raises(Precondition, match="nowhere"):
        await street.bus.consume(["nowhere"], "llm")


async def test_closing_the_bus_ends_its_readers(street: Street) -> None:
    consumer = await street.join("llm")
    follower = street.bus.follow(street.topic)
    waiting = [asyncio.create_task(drain(reader)) for reader in (consumer, follower)]
    await asyncio.sleep(0.1)
    await street.bus.close()
    async with asyncio.timeout(WAIT_S):
        assert await asyncio.gather(*waiting) == [0, 0]


async def drain(reader: Consumer | Follower) -> int:
    return len([record async for record in reader])


async def test_ten_thousand_small_records_pass(street: Street, capsys: pytest.CaptureFixture[str]) -> None:
    consumer = await street.join("llm")
    count, began = 10_000, time.perf_counter()

    async def take() -> None:
        seen = 0
        async for record in consumer:
            consumer.finish(record)
            seen += 1
            if seen == count:
                return

    taking = asyncio.create_task(take())
    for first in range(0, count, 500):
        batch = range(first, first + 500)
        await asyncio.gather(
            *(street.bus.publish(street.topic, f"key-{number}", b"x" * 100, {}) for number in batch)
        )
    async with asyncio.timeout(60):
        await taking
    with capsys.disabled():
        print(f"\n{type(street.bus).__name__}: {count / (time.perf_counter() - began):,.0f} records a second")


async def test_a_tenure_tells_what_others_may_have_had_and_gives_way_to_a_later_one(street: Street) -> None:
    await street.publish("key", "early")
    first = await street.join("llm")
    (early,) = await read(first, 1)
    await street.publish("key", "late")
    (late,) = await read(first, 1)
    held = first.tenure(early)
    assert held is not None
    assert early.offset < held.first_new <= late.offset
    await first.close()
    second = await street.join("llm")
    again = await read(second, 2)
    later = second.tenure(again[0])
    assert later is not None
    assert later.epoch > held.epoch
    assert again[1].offset < later.first_new
