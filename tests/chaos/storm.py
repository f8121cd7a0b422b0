"""A storm: a load on the cluster, a fault in the middle of it, and what the load generator saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice, takewhile

from anygpt.bench import Bench, Patience, arrivals
from anygpt.bench_report import percentile
from anygpt.bench_trace import LOST, REFUSED, Trace
from anygpt.client import AsyncClient
from tests.chaos.catalogue import Answer, Request, drawn, plain_catalogue
from tests.chaos.cluster import Cluster

LEAD_S = 3.0
"""The load runs so long before the fault, and after it."""
GRACE_S = 30.0
"""How long after its deadline a request may take to tell that it has ended."""
SEED = 1

Strike = Callable[[Cluster], Awaitable[None]]
Catalogue = Callable[[AsyncClient, Sequence[str]], Awaitable[list[Request]]]


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong: `strike` breaks it, and mends what does not mend itself."""

    name: str
    strike: Strike
    phase: str = ""
    """The fault waits until some request is in this phase."""
    recovers_s: float | None = None
    """By then 95 % of the requests have had news; None: the fault itself takes its time."""


@dataclass(frozen=True)
class Load:
    """How much is asked of the cluster, and how fast; it goes on until the fault is over."""

    requests: int = 40
    """At least."""
    rate: float = 4.0
    deadline_s: float = 60.0
    crowd: int = 120
    """Requests that come at once before the first storm, so that every pool and cache has its usual size."""

    @property
    def patience(self) -> Patience:
        """How long its clients wait."""
        return Patience(self.deadline_s, self.deadline_s + GRACE_S)


@dataclass
class Row:
    """What one storm came to."""

    fault: str
    traces: Sequence[Trace]
    struck_s: float
    wrong: list[int] = field(default_factory=list)
    """Requests whose whole answer is not the undisturbed one."""
    recovers_s: float | None = None
    """The goal for `recovery_p95_s`."""

    @property
    def lost(self) -> int:
        """Accepted requests without a terminal event."""
        return sum(trace.outcome == LOST for trace in self.traces)

    @property
    def breaches(self) -> Counter[str]:
        """Broken promises of streams, by kind."""
        return Counter(breach for trace in self.traces for breach in trace.breaches)

    @property
    def failures(self) -> Counter[str]:
        """How requests ended that did not finish."""
        return Counter(
            f"{trace.outcome} {trace.reason}".strip() for trace in self.traces if not trace.is_finished
        )

    @property
    def phases(self) -> Counter[str]:
        """How many requests the fault found in each phase."""
        found = (trace.phase(self.struck_s) for trace in self.traces)
        return Counter(phase for phase in found if phase)

    @property
    def recoveries_s(self) -> list[float]:
        """For each request that the fault found or that came later, the longest wait for a next event."""
        return sorted(
            trace.silence_s(self.struck_s)
            for trace in self.traces
            if trace.outcome != REFUSED and trace.ended_s > self.struck_s
        )

    @property
    def recovery_p95_s(self) -> float:
        """The wait that 95 % of them did not exceed."""
        return percentile(self.recoveries_s, 95) if self.recoveries_s else 0.0

    @property
    def is_slow(self) -> bool:
        """Whether it took longer to recover than it may."""
        return self.recovers_s is not None and self.recovery_p95_s >= self.recovers_s

    @property
    def has_harm(self) -> bool:
        """Whether anything was lost, repeated, wrong, or too slow to recover."""
        return bool(self.lost or self.breaches or self.wrong or self.is_slow)


class Weather:
    """Raises storms on one cluster; knows the undisturbed answers."""

    def __init__(self, cluster: Cluster, load: Load, catalogue: Catalogue = plain_catalogue) -> None:
        self._cluster = cluster
        self._load = load
        self._catalogue = catalogue
        self._templates: list[Request] = []
        self._answers: list[Answer] = []

    async def learn(self) -> None:
        """Ask for every answer once, undisturbed."""
        async with self._cluster.client() as client:
            self._templates = await self._catalogue(client, self._cluster.shape.services)
            bench = Bench([client], self._load.patience)
            traces = await bench.closed_loop(islice(drawn(self._templates), len(self._templates)), 2)
        assert all(trace.is_finished and not trace.breaches for trace in traces), traces
        self._answers = [trace.answer for trace in sorted(traces, key=lambda trace: trace.number)]

    async def fill(self) -> None:
        """Let a crowd come while nothing is wrong."""
        async with self._cluster.client(0) as first, self._cluster.client(1) as second:
            bench = Bench([first, second], self._load.patience)
            crowd = islice(drawn(self._templates), self._load.crowd)
            await bench.closed_loop(crowd, self._load.crowd or 1)

    async def storm(self, fault: Fault) -> Row:
        """Put on the load, strike, wait for every request's end, then check what came."""
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(self._cluster.client(first)) for first in (0, 1)]
            bench = Bench(clients, self._load.patience)
            is_over = asyncio.Event()
            requests = takewhile(
                lambda _: not is_over.is_set() or len(bench.traces) < self._load.requests,
                drawn(self._templates),
            )
            due_s = arrivals(self._load.rate, 1.0, SEED)
            running = asyncio.create_task(bench.open_loop(requests, due_s))
            await asyncio.sleep(LEAD_S)
            await _found_in(bench, fault.phase)
            struck_s = bench.now_s()
            await fault.strike(self._cluster)
            await asyncio.sleep(LEAD_S)
            is_over.set()
            traces = await running
            await bench.verify(traces)
        wrong = [trace.number for trace in traces if self._is_wrong(trace)]
        return Row(fault.name, traces, struck_s, wrong, fault.recovers_s)

    def _is_wrong(self, trace: Trace) -> bool:
        expected = self._answers[trace.number % len(self._answers)]
        has_failed_span = any(span.is_failed for _, span in trace.answer)
        return trace.is_finished and not has_failed_span and trace.answer != expected


async def _found_in(bench: Bench, phase: str) -> None:
    while phase and not any(trace.phase(bench.now_s()) == phase for trace in bench.traces):
        await asyncio.sleep(0.005)
