"""What goes wrong: processes that die, servers that stop, a store that refuses."""

from __future__ import annotations

import asyncio
import os
import signal

from anygpt import topology
from tests.chaos.cluster import Cluster
from tests.chaos.proxy import Mood
from tests.chaos.storm import Fault, Strike

TAKEN_OVER_S = 10.0
"""A replica has taken over from a dead one by then: session timeout, rebalance, replay."""
OUTAGE_S = 20.0
JUMP_S = 8.0
PHASES = ("encoding", "generating", "decoding")
PHASE_OF = {
    topology.Kind.ENCODER: "encoding",
    topology.Kind.GENERATOR: "generating",
    topology.Kind.DECODER: "decoding",
}


def killed(*names: str, phase: str = "") -> Fault:
    """A replica of each service dies at once, in some request's phase; they come back when the others took over."""

    async def strike(cluster: Cluster) -> None:
        victims = [cluster.replicas[name][0] for name in names]
        await asyncio.gather(*(asyncio.to_thread(victim.kill) for victim in victims))
        await asyncio.sleep(TAKEN_OVER_S)
        await asyncio.gather(*(asyncio.to_thread(victim.start) for victim in victims))

    return Fault(f"{' and '.join(names)} killed while {phase or 'busy'}", strike, phase)


def kills(services: tuple[str, ...]) -> list[Fault]:
    """The gateway dies in every phase, a stage in its own."""
    stages = [name for name in services if name in topology.STAGES]
    return [
        *(killed(topology.GATEWAY, phase=phase) for phase in PHASES),
        *(killed(name, phase=PHASE_OF[topology.STAGES[name].kind]) for name in stages),
    ]


def everything_trades(services: tuple[str, ...]) -> Fault:
    """Every process leaves as an operator would have it, and comes back: partitions change hands all the time."""

    async def strike(cluster: Cluster) -> None:
        for name in services:
            for replica in cluster.replicas[name]:
                await asyncio.to_thread(replica.stop)
                await asyncio.to_thread(replica.start)

    return Fault("rolling restart: partitions are traded", strike)


async def _broker_stops(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.kafka.down_for, OUTAGE_S)


async def _broker_freezes(cluster: Cluster) -> None:
    with cluster.kafka.paused():
        await asyncio.sleep(OUTAGE_S)


async def _memory_stops(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.redis.down_for, OUTAGE_S)


def clock_jumps(name: str) -> Fault:
    """The clock of one replica goes an hour ahead for a while."""

    async def strike(cluster: Cluster) -> None:
        pid = cluster.replicas[name][0].pid
        os.kill(pid, signal.SIGUSR1)
        await asyncio.sleep(JUMP_S)
        os.kill(pid, signal.SIGUSR2)

    return Fault(f"{name}'s clock jumps an hour", strike)


def _store_is(mood: Mood) -> Strike:
    async def strike(cluster: Cluster) -> None:
        cluster.store_proxy.mood = mood
        try:
            await asyncio.sleep(OUTAGE_S)
        finally:
            cluster.store_proxy.mood = Mood.PASS

    return strike


async def _restart_empty(cluster: Cluster) -> None:
    await asyncio.to_thread(cluster.redis.restart_empty)


MEMORY_EMPTIED = Fault("memory restarts empty", _restart_empty)


def outages() -> list[Fault]:
    """The servers fail, each in its ways."""
    return [
        Fault("broker stopped for 20 s", _broker_stops),
        Fault("broker frozen for 20 s", _broker_freezes),
        Fault("store answers 503 for 20 s", _store_is(Mood.BUSY)),
        Fault("store does not answer for 20 s", _store_is(Mood.SILENT)),
        Fault("store is full for 20 s", _store_is(Mood.FULL)),
        MEMORY_EMPTIED,
        Fault("memory stopped for 20 s", _memory_stops),
        *(clock_jumps(name) for name in (topology.GATEWAY, topology.GENERATOR.name)),
    ]
