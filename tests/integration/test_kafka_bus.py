"""What only a real Kafka shows: a broker that dies and comes back, a member that is killed, its own limits."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.consumer.fetcher import Fetcher
from kafka.coordinator.consumer import ConsumerCoordinator
from pydantic import SecretStr

from anygpt.bus import Bus
from anygpt.connections import create_infrastructure, open_bus
from anygpt.errors import Unavailable
from anygpt.kafka import create_topics
from anygpt.kafka_options import POLL_MS, KafkaOptions
from anygpt.settings import KafkaSettings, LimitSettings, ServiceSettings
from anygpt.topology import GENERATOR, TOPICS, Topic
from tests.servers import Kafka

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves sockets that did not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

LIMITS = LimitSettings(message_bytes=2_000_000)
WAIT_S = 30.0
FROZEN_S = 5.0
"""Several heartbeats are overdue by then."""
SASL = """
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.security.protocol.map=CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username="anygpt" password="secret" user_anygpt="secret";
"""
HOLDS_WHAT_IT_READS = """
import asyncio, sys
from anygpt.connections import open_bus
from anygpt.kafka_options import KafkaOptions
from anygpt.settings import ServiceSettings

async def main(url, topic):
    bus = await open_bus(ServiceSettings(bus=url))
    async for record in await bus.consume([topic], "llm"):
        print(record.value.decode(), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class KafkaWithPassword(Kafka):
    """A broker whose one user is anygpt with the password secret."""

    def prepare(self) -> None:
        super().prepare()
        properties = self.properties.read_text().replace("PLAINTEXT://", "SASL_PLAINTEXT://")
        self.properties.write_text(
            properties.replace("listener.name=PLAINTEXT", "listener.name=SASL_PLAINTEXT") + SASL
        )


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test leaves to the garbage collector is collected under the test's own filter of warnings."""
    yield
    gc.collect()


@pytest.fixture
def settings(kafka: str) -> ServiceSettings:
    return ServiceSettings(bus=kafka, limits=LIMITS)


@pytest.fixture
async def topic(settings: ServiceSettings) -> str:
    """A topic of this test alone."""
    name = f"test.{uuid.uuid4().hex}"
    await create_topics(settings, {name: Topic(name, TOPICS[GENERATOR.topic].message, (), (), 2, 60_000)})
    return name


@pytest.fixture
async def bus(settings: ServiceSettings) -> AsyncIterator[Bus]:
    opened = await open_bus(settings)
    yield opened
    await opened.close()


async def test_the_topics_of_the_map_are_made_once(settings: ServiceSettings) -> None:
    await create_infrastructure(settings.model_copy(update={"store": "file:///tmp"}))
    assert await create_topics(settings) == []


async def test_a_record_as_large_as_the_limit_passes_the_broker(bus: Bus, topic: str) -> None:
    async with aclosing(bus.follow(topic)) as follower:
        await bus.publish(topic, "key", bytes(LIMITS.message_bytes - 3), {})
        record = await asyncio.wait_for(anext(follower), WAIT_S)
        assert len(record.value) == LIMITS.message_bytes - 3


async def test_a_dead_broker_is_unavailable_within_a_bound_and_all_goes_on_when_it_is_back(
    bus: Bus, topic: str, kafka_server: Kafka
) -> None:
    consumer = await bus.consume([topic], "llm")
    follower = bus.follow(topic)
    await bus.publish(topic, "key", b"before", {})
    first = [await asyncio.wait_for(anext(aiter(reader)), WAIT_S) for reader in (consumer, follower)]
    assert [record.value for record in first] == [b"before", b"before"]
    consumer.finish(first[0])
    await asyncio.sleep(0.5)
    kafka_server.kill()
    try:
        began = time.monotonic()
        publishing, opening = (
            bus.publish(topic, "key", b"late", {}),
            open_bus(ServiceSettings(bus=kafka_server.url)),
        )
        failures = await asyncio.gather(publishing, opening, return_exceptions=True)
        assert [type(failure) for failure in failures] == [Unavailable, Unavailable]
        assert time.monotonic() - began < 15
    finally:
        await asyncio.to_thread(kafka_server.start)
    await asyncio.wait_for(bus.publish(topic, "key", b"after", {}), WAIT_S)
    for reader in (consumer, follower):
        while (await asyncio.wait_for(anext(aiter(reader)), WAIT_S)).value != b"after":
            pass


async def test_a_frozen_broker_is_unavailable_within_a_bound(
    bus: Bus, topic: str, kafka_server: Kafka
) -> None:
    await bus.publish(topic, "key", b"before", {})
    with kafka_server.paused():
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await bus.publish(topic, "key", b"late", {})
        assert time.monotonic() - began < 15
    await asyncio.wait_for(bus.publish(topic, "key", b"after", {}), WAIT_S)


async def test_a_member_of_a_frozen_broker_waits_for_it_without_turning(
    bus: Bus, topic: str, kafka_server: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: Counter[str] = Counter()

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return call(*arguments, **options)

        return counting

    consumer = await bus.consume([topic], "llm")
    await bus.publish(topic, "key", b"before", {})
    consumer.finish(await asyncio.wait_for(anext(aiter(consumer)), WAIT_S))
    with kafka_server.paused():
        monkeypatch.setattr(KafkaConsumer, "poll", counted("polls", KafkaConsumer.poll))
        monkeypatch.setattr(Fetcher, "fetch_records", counted("turns", Fetcher.fetch_records))
        await asyncio.sleep(FROZEN_S)
    # A wait may end a moment early, and the rest of its poll is a turn or two; without a wait there are hundreds.
    assert 1 < calls["polls"] < 2 * FROZEN_S * 1000 / POLL_MS
    assert calls["turns"] < 5 * calls["polls"]


async def test_what_a_killed_member_held_goes_to_the_next(bus: Bus, topic: str, kafka: str) -> None:
    await bus.publish(topic, "key", b"held", {})
    command = [sys.executable, "-W", "ignore", "-c", HOLDS_WHAT_IT_READS, kafka, topic]
    member = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert member.stdout is not None
    assert await asyncio.wait_for(member.stdout.readline(), WAIT_S) == b"held\n"
    member.kill()
    await member.wait()
    successor = await bus.consume([topic], "llm")
    began = time.monotonic()
    assert (await asyncio.wait_for(anext(aiter(successor)), WAIT_S)).value == b"held"
    assert time.monotonic() - began < KafkaSettings().session_timeout_ms / 1000 + 5


async def test_a_static_member_comes_back_to_its_partitions(settings: ServiceSettings, topic: str) -> None:
    static = settings.model_copy(update={"kafka": KafkaSettings(instance_id="pod-0")})
    for value in (b"first", b"second"):
        bus = await open_bus(static)
        consumer = await bus.consume([topic], "llm")
        await bus.publish(topic, "key", value, {})
        record = await asyncio.wait_for(anext(aiter(consumer)), WAIT_S)
        assert record.value == value
        consumer.finish(record)
        await bus.close()


@pytest.mark.slow
async def test_a_leader_whose_join_outlasts_a_poll_stays_a_member(
    bus: Bus, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anygpt.kafka.POLL_MS", 2)
    watched = watch_coordinators(monkeypatch)
    await bus.consume([topic], f"group-{uuid.uuid4().hex}")
    (coordinator,) = watched
    for _ in range(20):
        # As if the leader had learned of new partitions since it assigned.
        coordinator._assignment_snapshot = {}
        async with asyncio.timeout(WAIT_S):
            while coordinator.need_rejoin() or coordinator._join_task is not None:
                await asyncio.sleep(0.01)
        assert coordinator.stable()
        assert coordinator._heartbeat_enabled


def watch_coordinators(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Those of all consumers in groups from now on."""
    watched: list[Any] = []

    class Watched(ConsumerCoordinator):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            if self.group_id:
                watched.append(self)

    monkeypatch.setattr("kafka.consumer.group.ConsumerCoordinator", Watched)
    return watched


async def test_a_cluster_may_want_a_password() -> None:
    with KafkaWithPassword() as server:
        right = KafkaSettings(
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            username="anygpt",
            password=SecretStr("secret"),
        )
        settings = ServiceSettings(bus=server.url, kafka=right)
        name = GENERATOR.topic
        await create_topics(settings, {name: TOPICS[name]})
        bus = await open_bus(settings)
        consumer = await bus.consume([name], "llm")
        await bus.publish(name, "key", b"value", {})
        assert (await asyncio.wait_for(anext(aiter(consumer)), WAIT_S)).value == b"value"
        await bus.close()


def test_the_options_are_words_that_the_vendor_knows() -> None:
    files = KafkaSettings(
        security_protocol="SASL_SSL",
        ca_file=Path("ca"),
        cert_file=Path("cert"),
        key_file=Path("key"),
        instance_id="pod",
    )
    options = KafkaOptions("host:9092", files, LIMITS)
    assert set(options.producer()) <= set(KafkaProducer.DEFAULT_CONFIG)
    assert set(options.follower()) | set(options.member("llm", 0)) <= set(KafkaConsumer.DEFAULT_CONFIG)
    assert set(options.admin()) <= set(KafkaAdminClient.DEFAULT_CONFIG)


async def test_hops_over_the_broker_are_timed(
    bus: Bus, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    consumer = await bus.consume([topic], "llm")
    took = []
    for _ in range(200):
        began = time.perf_counter()
        publishing = asyncio.ensure_future(bus.publish(topic, "key", b"x" * 200, {"request": "1"}))
        consumer.finish(await asyncio.wait_for(anext(aiter(consumer)), WAIT_S))
        took.append(time.perf_counter() - began)
        await publishing
    took.sort()
    with capsys.disabled():
        print(f"\nKafkaBus: a hop takes {took[100] * 1e3:.1f} ms p50, {took[190] * 1e3:.1f} ms p95")
