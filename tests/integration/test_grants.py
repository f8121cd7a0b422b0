"""Grants on a real broker with passwords and an authoriser: an account does what the map says, and nothing else."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from anygpt import topology
from anygpt.bus import Bus
from anygpt.connections import create_infrastructure, open_bus
from anygpt.errors import Denied, Precondition, Unavailable
from anygpt.grants import AUTOSCALER, of_accounts
from anygpt.kafka_options import KafkaOptions
from tests.servers.secured_kafka import ADMIN, SecuredKafka

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    # kafka-python leaves sockets that did not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
WRITERS = ["gateway", "image_encoder", "llm", "image_decoder"]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test leaves to the garbage collector is collected under the test's own filter of warnings."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredKafka]:
    """A broker whose accounts and grants `anygpt init` has made."""
    with SecuredKafka() as server:
        asyncio.run(create_infrastructure(server.settings(ADMIN)))
        yield server


@asynccontextmanager
async def bus_of(secured: SecuredKafka, account: str) -> AsyncIterator[Bus]:
    """The bus as one account has it."""
    bus = await open_bus(secured.settings(account))
    try:
        yield bus
    finally:
        await bus.close()


async def is_written(bus: Bus, topic: str) -> bool:
    """Whether the broker takes a record; of a topic that may not even be seen it says that there is none."""
    try:
        await bus.publish(topic, "key", b"value", {})
    except (Denied, Precondition):
        return False
    return True


@pytest.mark.parametrize("account", WRITERS)
async def test_an_account_writes_its_own_outputs_and_no_other_topic(
    secured: SecuredKafka, account: str
) -> None:
    own = {topic.name for topic in topology.TOPICS.values() if account in topic.writers}
    read = {topic.name for topic in topology.TOPICS.values() if account in topic.readers} - own
    async with bus_of(secured, account) as bus:
        assert {topic for topic in sorted(set(topology.TOPICS) - read) if await is_written(bus, topic)} == own
    for topic in sorted(read):
        # A refusal may leave the vendor's producer unable to write anything: each topic has its own.
        async with bus_of(secured, account) as bus:
            assert not await is_written(bus, topic), topic


def test_an_encoder_may_write_neither_work_nor_orders_nor_for_others() -> None:
    written = {grant.name for grant in of_accounts(["image_encoder"]) if grant.operation == "WRITE"}
    dead = topology.STAGES["image_encoder"].dead_topic
    assert written == {topology.REPLIES, topology.HEARTBEATS, dead}


async def test_an_account_reads_its_own_work_in_its_own_group(secured: SecuredKafka) -> None:
    own, others = topology.STAGES["image_encoder"], topology.STAGES["video_encoder"]
    async with bus_of(secured, "image_encoder") as bus:
        member = await bus.consume([own.topic], own.name)
        await member.close()
        for topic, group in ((own.topic, "gateway"), (others.topic, own.name)):
            with pytest.raises((Denied, Precondition)):
                await bus.consume([topic], group)


async def test_whoever_scales_sees_the_lag_and_reads_nothing(secured: SecuredKafka) -> None:
    assert {grant.operation for grant in of_accounts([AUTOSCALER])} == {"DESCRIBE"}
    async with bus_of(secured, AUTOSCALER) as bus:
        with pytest.raises(Denied):
            await bus.consume([topology.GENERATOR.topic], topology.GENERATOR.name)


async def test_nobody_comes_in_with_a_wrong_password(secured: SecuredKafka) -> None:
    with pytest.raises(Unavailable):
        await open_bus(secured.settings("image_encoder", "guessed"))


async def test_init_takes_back_what_the_map_does_not_grant(secured: SecuredKafka) -> None:
    settings = secured.settings(ADMIN)
    options = KafkaOptions(secured.bootstrap, settings.kafka, settings.limits)
    pattern = ResourcePattern(ResourceType.TOPIC, topology.CONTROL)
    planted = ACL("User:image_encoder", "*", ACLOperation.WRITE, ACLPermissionType.ALLOW, pattern)
    admin = KafkaAdminClient(**options.admin())
    try:
        assert not admin.create_acls([planted])["failed"]
        await create_infrastructure(settings)
        assert planted not in admin.describe_acls(planted)[0]
    finally:
        admin.close()
