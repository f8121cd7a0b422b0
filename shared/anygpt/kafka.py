"""The real bus: Apache Kafka. Threads of the vendor's client do the network; the event loop never waits for them.

A producer, a client for look-ups, and for each reader a client with a thread that polls it (`bus_polling.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import kafka
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.net.compat import KafkaNetClient
from kafka.partitioner import murmur2
from pydantic import SecretStr

from anygpt.bus import Record, check_size
from anygpt.bus_polling import (
    Acknowledgements,
    Offsets,
    Partition,
    PolledFollower,
    PolledMember,
    PolledReader,
)
from anygpt.errors import AnyGPTError, Denied, Exhausted, OutOfRange, Precondition, TooLarge, Unavailable
from anygpt.grants import Grant, of_accounts
from anygpt.kafka_options import POLL_MS, REQUEST_MS, RETRY_MS, KafkaOptions, Options
from anygpt.kafka_patience import make_patient, remember_join
from anygpt.settings import MIB, KafkaSettings, LimitSettings, ServiceSettings
from anygpt.topology import TOPICS, Topic

T = TypeVar("T")

GIVE_UP_S = 10.0
"""How long a record waits for its acknowledgement before its publisher is told that the bus is down."""
WAITING_BYTES = 64 * MIB
LEAVE_MS = 3_000
PROPAGATION_S = 60.0


class KafkaBus:
    """A connection to a cluster. The topics exist already: `create_topics` makes them."""

    def __init__(self, servers: str, settings: KafkaSettings, limits: LimitSettings) -> None:
        self._options = KafkaOptions(servers, settings, limits)
        self._limits = limits
        self._counts: dict[str, int] = {}
        self._members: dict[str, int] = {}
        self._readers: set[PolledReader] = set()
        self._positioning: set[asyncio.Future[Any]] = set()
        self._lookups = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-lookup")
        self._is_closed = False

    async def open(self) -> KafkaBus:
        """Connect. Raises Unavailable."""
        self._acknowledgements = Acknowledgements()
        try:
            self._client: KafkaConsumer = await self._look_up(
                lambda: KafkaConsumer(**self._options.follower())
            )
            self._producer: KafkaProducer = await self._look_up(
                lambda: KafkaProducer(**self._options.producer(), kafka_client=_PatientClient)
            )
        except AnyGPTError:
            self._lookups.shutdown(wait=False)
            raise
        return self

    async def publish(self, topic: str, key: str, value: bytes, headers: Mapping[str, str]) -> None:
        """See Bus. A record that raised Unavailable may have been published, or be published later."""
        size = check_size(key, value, headers, self._limits.message_bytes)
        partition = await self.partition_of(topic, key)
        if self._positioning:
            await asyncio.wait(self._positioning, timeout=GIVE_UP_S)
        if self._is_closed:
            raise Unavailable("the bus is closed")
        if self._acknowledgements.waiting_bytes > WAITING_BYTES:
            raise Exhausted("too much waits for the bus", reason="BUS_FULL", retry_after_ms=1000)
        pairs = [(name, text.encode()) for name, text in headers.items()]
        try:
            async with asyncio.timeout(GIVE_UP_S):
                sent = self._producer.send(topic, value, key.encode(), pairs, partition)
                await self._acknowledgements.of(sent, size)
        except TimeoutError:
            raise Unavailable("the bus does not answer", retry_after_ms=RETRY_MS) from None
        except kafka_errors.KafkaError as error:
            raise _translated(error) from error

    async def consume(self, topics: Sequence[str], group: str, unfinished: int | None = None) -> PolledMember:
        """See Bus. A new group begins with the oldest record that is kept."""
        for topic in topics:
            await self._count(topic)
        rank = self._members[group] = self._members.get(group, -1) + 1
        connect = partial(_Polled.in_group, self._options.member(group, rank), topics)
        member = PolledMember(connect, unfinished or self._limits.unfinished_records)
        self._track(member)
        member.start()
        try:
            await member.joined
        except BaseException:
            member.stop()
            raise
        return member

    def follow(self, topic: str, *, since_ms: int | None = None, key: str | None = None) -> PolledFollower:
        """See Bus. Publishing waits until the position of a follower from the end is known."""
        if self._is_closed:
            raise Unavailable("the bus is closed")
        positions = asyncio.ensure_future(self._positions(topic, since_ms, key))
        follower = PolledFollower(lambda: _Polled.at(self._options.follower(), positions.result()[0]))
        self._track(follower)
        if since_ms is None:
            self._positioning.add(positions)
        positions.add_done_callback(partial(self._begin, follower))
        return follower

    async def partition_of(self, topic: str, key: str) -> int:
        """See Bus."""
        count = self._counts.get(topic) or await self._count(topic)
        return int((murmur2(key.encode()) & 0x7FFFFFFF) % count)

    async def close(self) -> None:
        """See Bus."""
        if self._is_closed:
            return
        self._is_closed = True
        readers = list(self._readers)
        for reader in readers:
            reader.stop()
        await asyncio.gather(*(reader.left() for reader in readers))
        with contextlib.suppress(kafka_errors.KafkaTimeoutError):
            await asyncio.to_thread(self._producer.close, LEAVE_MS / 1000)
        await self._look_up(self._client.close)
        self._lookups.shutdown()

    def _track(self, reader: PolledReader) -> None:
        self._readers.add(reader)
        reader.ended.add_done_callback(lambda _: self._readers.discard(reader))

    def _begin(self, follower: PolledFollower, positions: asyncio.Future[tuple[Offsets, Offsets]]) -> None:
        self._positioning.discard(positions)
        error = positions.exception()
        if error is not None:
            follower.end(error)
            return
        follower.begin(*positions.result())

    async def _count(self, topic: str) -> int:
        count = len(await self._look_up(lambda: self._client.partitions_for_topic(topic)))
        if not count:
            raise Precondition(f"there is no topic {topic}: run `anygpt init`")
        await self._look_up(lambda: self._producer.partitions_for(topic))
        self._counts[topic] = count
        return count

    async def _positions(self, topic: str, since_ms: int | None, key: str | None) -> tuple[Offsets, Offsets]:
        """Where to begin in each partition, and where it ends."""
        count = self._counts.get(topic) or await self._count(topic)
        numbers = range(count) if key is None else [await self.partition_of(topic, key)]
        partitions = [TopicPartition(topic, number) for number in numbers]
        return await self._look_up(lambda: self._offsets(partitions, since_ms))

    def _offsets(self, partitions: list[TopicPartition], since_ms: int | None) -> tuple[Offsets, Offsets]:
        ends: Offsets = self._client.end_offsets(partitions, timeout_ms=REQUEST_MS)
        if since_ms is None:
            return ends, ends
        moments = dict.fromkeys(partitions, max(since_ms, 0))
        found = self._client.offsets_for_times(moments, timeout_ms=REQUEST_MS)
        return {one: found[one].offset if found.get(one) else ends[one] for one in partitions}, ends

    async def _look_up(self, work: Callable[[], T]) -> T:
        with _translating():
            return await asyncio.get_running_loop().run_in_executor(self._lookups, work)


async def create_topics(settings: ServiceSettings, topics: Mapping[str, Topic] = TOPICS) -> list[str]:
    """Make the topics of the map that are missing and name them; existing ones stay as they are."""
    options = KafkaOptions(settings.bus.removeprefix("kafka://"), settings.kafka, settings.limits)
    with _translating():
        return await asyncio.to_thread(_create_topics, options, topics)


def _create_topics(options: KafkaOptions, topics: Mapping[str, Topic]) -> list[str]:
    admin = KafkaAdminClient(**options.admin())
    try:
        missing = sorted(set(topics) - set(admin.list_topics()))
        with contextlib.suppress(kafka_errors.TopicAlreadyExistsError):
            if missing:
                admin.create_topics({name: options.topic(topics[name]) for name in missing})
        admin.wait_for_topics(missing, timeout_ms=1000 * PROPAGATION_S)
        return missing
    finally:
        admin.close()


async def create_accounts(settings: ServiceSettings) -> list[str]:
    """Make the accounts that the settings have passwords for, with their grants and no other; name them."""
    options = KafkaOptions(settings.bus.removeprefix("kafka://"), settings.kafka, settings.limits)
    with _translating():
        return await asyncio.to_thread(_create_accounts, options, settings.kafka.accounts)


def _create_accounts(options: KafkaOptions, accounts: Mapping[str, SecretStr]) -> list[str]:
    admin = KafkaAdminClient(**options.admin())
    try:
        made = admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(name, ScramMechanism.SCRAM_SHA_512, secret.get_secret_value())
                for name, secret in accounts.items()
            ]
        )
        if refused := {name: error for name, error in made.items() if error}:
            raise Precondition(f"the broker makes no account {refused}", field="kafka.accounts")
        _set_grants(admin, accounts)
        _await_accounts(admin, accounts)
        return [f"account {name}" for name in sorted(accounts)]
    finally:
        admin.close()


def _await_accounts(admin: KafkaAdminClient, accounts: Iterable[str]) -> None:
    """Return when the broker that answers has heard of the accounts from its controller."""
    deadline = time.monotonic() + PROPAGATION_S
    while not set(admin.describe_user_scram_credentials()) >= set(accounts):
        if time.monotonic() > deadline:
            raise Unavailable("the broker does not learn of its accounts")
        time.sleep(RETRY_MS / 1000)


def _set_grants(admin: KafkaAdminClient, accounts: Iterable[str]) -> None:
    every = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    held: set[ACL] = set()
    for name in accounts:
        of_account = ACLFilter(f"User:{name}", "*", ACLOperation.ANY, ACLPermissionType.ANY, every)
        found, error = admin.describe_acls(of_account)
        if error is not kafka_errors.NoError:
            raise error
        held |= set(found)
    wanted = {_acl(grant) for grant in of_accounts(accounts)}
    if held - wanted:
        admin.delete_acls(list(held - wanted))
    if failed := admin.create_acls(list(wanted - held))["failed"] if wanted - held else []:
        raise failed[0]


def _acl(grant: Grant) -> ACL:
    pattern = ResourcePattern(ResourceType[grant.resource], grant.name)
    return ACL(f"User:{grant.account}", "*", ACLOperation[grant.operation], ACLPermissionType.ALLOW, pattern)


class _PatientClient(KafkaNetClient):  # type: ignore[misc]
    """The producer's network client, which waits for a broker that is away without turning a core."""

    def connection_delay(self, node: object) -> float:
        """Milliseconds, as the sender takes them: the vendor's own answer is in seconds, and 0 while it connects."""
        return max(1000.0 * float(super().connection_delay(node)), RETRY_MS)


class _Polled:
    """See PolledClient."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    @classmethod
    def in_group(cls, options: Options, topics: Sequence[str], member: PolledMember) -> _Polled:
        with _translating():
            consumer = KafkaConsumer(**options, partition_assignment_strategy=[CooperativeStickyAssignor])
            make_patient(consumer)
            # A leader that joins before it knows the topics assigns nothing, and a static one may leave it at that.
            for topic in topics:
                consumer.partitions_for_topic(topic)
            consumer.subscribe(list(topics), listener=_Rebalances(consumer, member))
            return cls(consumer)

    @classmethod
    def at(cls, options: Options, positions: Offsets) -> _Polled:
        with _translating():
            consumer = KafkaConsumer(**options)
            consumer.assign([TopicPartition(*partition) for partition in positions])
            for partition, offset in positions.items():
                consumer.seek(TopicPartition(*partition), offset)
            return cls(consumer)

    def poll(self) -> dict[Partition, list[Record]]:
        with _translating():
            remember_join(self._consumer)
            polled = self._consumer.poll(timeout_ms=POLL_MS)
        return {partition: [_record(one) for one in batch] for partition, batch in polled.items()}

    def end(self, partition: Partition) -> int:
        place = TopicPartition(*partition)
        return (self._consumer.highwater(place) or 0) if place in self._consumer.assignment() else 0

    def pause(self, partitions: frozenset[Partition]) -> None:
        paused = self._consumer.paused()
        if partitions or paused:
            self._consumer.pause(*(self._consumer.assignment() & partitions) - paused)
            self._consumer.resume(*paused - partitions)

    def commit(self, offsets: Offsets, failed: Callable[[Offsets], None] | None) -> None:
        with _translating():
            # What went to another member meanwhile is that one's to commit.
            own = self._consumer.assignment()
            offsets = {one: offset for one, offset in offsets.items() if one in own}
            if offsets and failed:
                told = partial(_committed, offsets, failed)
                self._consumer.commit_async(_positions(offsets), callback=told)
            elif offsets:
                self._consumer.commit(_positions(offsets), timeout_ms=LEAVE_MS)

    def is_member(self) -> bool:
        return bool(self._consumer.group_metadata().generation_id >= 0)

    def close(self) -> None:
        with _translating():
            self._consumer.close(autocommit=False, timeout_ms=LEAVE_MS)


class _Rebalances(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
    """Tells a member what it was given and what it lost, after committing what is finished while it may."""

    def __init__(self, consumer: KafkaConsumer, member: PolledMember) -> None:
        self._consumer = consumer
        self._member = member

    def on_partitions_assigned(self, assigned: set[Partition]) -> None:
        self._member.give(set(assigned), self._consumer.group_metadata().generation_id)

    def on_partitions_revoked(self, revoked: set[Partition]) -> None:
        if offsets := self._member.take_finished():
            commit = partial(_committed, offsets, self._member.try_again)
            self._consumer.commit_async(_positions(offsets), callback=commit)
        self._member.lose(set(revoked))

    def on_partitions_lost(self, lost: set[Partition]) -> None:
        self._member.lose(set(lost))


def _positions(offsets: Offsets) -> dict[TopicPartition, kafka.OffsetAndMetadata]:
    return {TopicPartition(*one): kafka.OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()}


def _committed(offsets: Offsets, failed: Callable[[Offsets], None], _: object, result: object) -> None:
    if isinstance(result, Exception):
        failed(offsets)


def _record(polled: Any) -> Record:
    return Record(
        polled.topic,
        polled.partition,
        polled.offset,
        (polled.key or b"").decode(errors="replace"),
        polled.value or b"",
        {name: (value or b"").decode(errors="replace") for name, value in polled.headers},
        polled.timestamp,
    )


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise _translated(error) from error


def _translated(error: Exception) -> AnyGPTError:
    if isinstance(error, kafka_errors.AuthorizationError):
        return Denied("the bus does not allow it to this account", reason="BUS_DENIED")
    if isinstance(error, kafka_errors.MessageSizeTooLargeError):
        return TooLarge("the broker refuses a record of this size")
    if isinstance(error, kafka_errors.OffsetOutOfRangeError | kafka_errors.NoOffsetForPartitionError):
        return OutOfRange("the records from this position on are no longer kept")
    may_retry = getattr(error, "retriable", True)
    return Unavailable(f"the bus does not answer: {error}", retry_after_ms=RETRY_MS if may_retry else 0)
