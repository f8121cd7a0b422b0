"""What must return to where it was when a storm is over: lag, memory, file handles, objects."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from anygpt import topology
from anygpt.bench_trace import Trace
from anygpt.connections import open_store
from tests.chaos.cluster import Cluster

CALM_S = 30.0
"""How long after the last request the groups may take to finish what they read."""
TIDY_S = 1.0
GENERATED = "default/media/"
UPLOADED = "default/uploads/"
GROWTH_MB = 16.0
"""What a process that has served its first storms may hold more than one that has answered a handful: caches."""
GROWTH_HANDLES = 4


@dataclass(frozen=True)
class Vitals:
    """The state of a cluster at rest."""

    lag: int
    """Records that no member of a group has finished."""
    uploads: int
    """Objects that clients have sent: always the same few."""
    each: tuple[tuple[float, int], ...]
    """Megabytes and handles of every process."""

    def __str__(self) -> str:
        return (
            f"lag {self.lag}, {self.resident_mb:.0f} MB and {self.handles} handles in {len(self.each)} processes, "
            f"{self.uploads} uploads"
        )

    @property
    def resident_mb(self) -> float:
        """Of all processes."""
        return sum(megabytes for megabytes, _ in self.each)

    @property
    def handles(self) -> int:
        """Of all processes."""
        return sum(handles for _, handles in self.each)

    def is_as(self, before: Vitals) -> bool:
        """Whether everything has come back to where it was."""
        return (
            not self.lag
            and self.resident_mb <= before.resident_mb + GROWTH_MB * len(self.each)
            and self.handles <= before.handles + GROWTH_HANDLES * len(self.each)
            and self.uploads == before.uploads
        )


async def at_rest(cluster: Cluster) -> Vitals:
    """Wait until nothing is left to read, then look."""
    deadline = time.monotonic() + CALM_S
    while (lag := await asyncio.to_thread(_lag, cluster)) and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    replicas = cluster.all_replicas
    for replica in replicas:
        assert replica.running, f"{replica.name} has died: {replica.last_words()}"
        replica.tidy()
    await asyncio.sleep(TIDY_S)
    return Vitals(
        lag,
        uploads=len(await _kept(cluster, UPLOADED)),
        each=tuple((each.resident_mb, each.handles) for each in replicas),
    )


async def unnamed_objects(cluster: Cluster, traces: Sequence[Trace]) -> list[str]:
    """Generated media in the store that no event of these requests named, though it belongs to one of them."""
    named = {media.object for trace in traces for media in trace.media}
    finished = {trace.request_id for trace in traces if trace.is_finished}
    kept = [key.removeprefix("default/") for key in await _kept(cluster, GENERATED)]
    return [key for key in kept if key not in named and key.split("/")[1] in finished]


async def _kept(cluster: Cluster, folder: str) -> list[str]:
    store = await open_store(cluster.settings)
    try:
        return [each.key for each in await store.list(folder)]
    finally:
        await store.close()


def _lag(cluster: Cluster) -> int:
    admin = KafkaAdminClient(bootstrap_servers=cluster.kafka.bootstrap)
    reader = KafkaConsumer(bootstrap_servers=cluster.kafka.bootstrap)
    try:
        groups = {name: _partitions(name) for name in cluster.shape.services if _partitions(name)}
        ends = reader.end_offsets([each for partitions in groups.values() for each in partitions])
        found = admin.list_group_offsets(groups)
        return sum(
            ends[each] - max(found[name][each].offset, 0)
            for name, partitions in groups.items()
            for each in partitions
        )
    finally:
        reader.close()
        admin.close()


def _partitions(service: str) -> list[TopicPartition]:
    """What a service's group reads."""
    if service == topology.GATEWAY:
        topics = [topology.REPLIES]
    elif service in topology.STAGES:
        topics = [topology.STAGES[service].topic, topology.STAGES[service].batch_topic]
    else:
        topics = []
    return [TopicPartition(name, i) for name in topics for i in range(topology.TOPICS[name].partitions)]
