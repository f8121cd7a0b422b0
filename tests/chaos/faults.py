"""What goes wrong: processes that die, servers that stop, a store that refuses."""

from __future__ import annotations

import asyncio
import os
import random
import signal

from anygpt import topology
from anygpt.bench_trace import Trace
from anygpt.client import AsyncClient
from tests.chaos.catalogue import Request, plain_catalogue
from tests.chaos.cluster import Cluster
from tests.chaos.proxy import Mood
from tests.chaos.storm import Fault, Strike

TAKEN_OVER_S = 10.0
"""A replica has taken over from a dead one by then: session timeout, rebalance, replay."""
RECOVERS_S = 15.0
"""From a kill to the next event, for 95 % of the requests."""
FROZEN_S = 12.0
"""Twice the session timeout: the group has given the partitions away when the process wakes up."""
CRAWL_S = 15.0
ASLEEP_S, AWAKE_S = 0.85, 0.15
RANDOM_S = 60.0
PAUSE_S = 3.0
READING_S = 1.0
SEED = 3
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

    return Fault(f"{' and '.join(names)} killed while {phase or 'busy'}", strike, phase, RECOVERS_S)


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


def frozen(name: str) -> Fault:
    """A replica stands still until others have its work, then goes on as if nothing had been."""

    async def strike(cluster: Cluster) -> None:
        pid = cluster.replicas[name][0].pid
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(FROZEN_S)
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(TAKEN_OVER_S)

    return Fault(f"{name} frozen for {FROZEN_S:.0f} s, then awake", strike)


def crawls(name: str) -> Fault:
    """A replica is so slow that it hardly moves, but too quick to be taken for dead."""

    async def strike(cluster: Cluster) -> None:
        pid = cluster.replicas[name][0].pid
        for _ in range(round(CRAWL_S / (ASLEEP_S + AWAKE_S))):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(ASLEEP_S)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(AWAKE_S)

    return Fault(f"{name} consumes slowly", strike)


async def _clients_read_slowly(cluster: Cluster) -> None:
    """Clients that take a second for each event, beside those of the load; they too miss and repeat nothing."""
    async with cluster.client() as client:
        requests = await plain_catalogue(client, cluster.shape.services)
        traces = await asyncio.gather(*(_read_slowly(client, request) for request in requests))
    assert all(trace.is_finished and not trace.breaches for trace in traces), traces


async def _read_slowly(client: AsyncClient, request: Request) -> Trace:
    trace = Trace(0, 0.0)
    async for event in client.stream(request, 120.0):
        trace.see(event, 0.0)
        await asyncio.sleep(READING_S)
    return trace


def at_random(services: tuple[str, ...]) -> Fault:
    """For a minute, a process that nobody chose dies every few seconds; of no service both at once."""

    async def die(cluster: Cluster, name: str, number: int) -> None:
        victim = cluster.replicas[name][number]
        await asyncio.to_thread(victim.kill)
        await asyncio.sleep(TAKEN_OVER_S)
        await asyncio.to_thread(victim.start)

    async def strike(cluster: Cluster) -> None:
        drawn = random.Random(SEED)
        deaths: dict[str, asyncio.Task[None]] = {}
        for _ in range(round(RANDOM_S / PAUSE_S)):
            if whole := [name for name in services if name not in deaths or deaths[name].done()]:
                name = drawn.choice(whole)
                deaths[name] = asyncio.create_task(die(cluster, name, drawn.randrange(2)))
            await asyncio.sleep(PAUSE_S)
        await asyncio.gather(*deaths.values())

    return Fault(f"any replica killed every {PAUSE_S:.0f} s for a minute", strike)


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
        Fault("clients read slowly", _clients_read_slowly),
        *(clock_jumps(name) for name in (topology.GATEWAY, topology.GENERATOR.name)),
    ]
