"""A load on a gateway: requests sent when they are due, each followed to its end and checked on the way.

In an open loop requests are due by a clock, whatever the system does; in a closed one each waits for a place.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from anygpt.answer import TERMINALS, Event
from anygpt.bench_trace import LOST, REFUSED, Trace
from anygpt.client import AsyncClient
from anygpt.errors import AnyGPTError, DeadlineExpired, Unavailable
from anygpt.v1 import anygpt_service_pb2

Request = anygpt_service_pb2.GenerateRequest
RETRY_S = 0.5
CHECKS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take, and how long its client waits for news of it."""

    deadline_s: float | None = None
    """The request's own deadline."""
    give_up_s: float = 660.0
    """After it the request counts as lost."""


def arrivals(rate: float, burstiness: float, seed: int) -> Iterator[float]:
    """Seconds at which requests are due, without end: gaps are gamma distributed around 1 / rate.

    A burstiness of 1 is Poisson, below 1 burstier, infinity a steady beat.
    """
    drawn, at_s = random.Random(seed), 0.0
    while True:
        yield at_s
        at_s += (
            1 / rate if math.isinf(burstiness) else drawn.gammavariate(burstiness, 1 / (rate * burstiness))
        )


class Bench:
    """Sends requests by several clients in turn, as one population of users."""

    def __init__(self, clients: Sequence[AsyncClient], patience: Patience) -> None:
        self._clients = clients
        self._patience = patience
        self._began = time.perf_counter()
        self.traces: list[Trace] = []

    def now_s(self) -> float:
        """Seconds since the bench was made, the clock of its traces."""
        return time.perf_counter() - self._began

    async def open_loop(self, requests: Iterable[Request], due_s: Iterable[float]) -> list[Trace]:
        """Send each request at its time after now, whether or not earlier ones have ended.

        Requests are drawn when they are due, so that their iterator can say when it is enough.
        """
        start_s = self.now_s()
        tasks, left = [], iter(requests)
        for after_s in due_s:
            await asyncio.sleep(max(0.0, start_s + after_s - self.now_s()))
            request = next(left, None)
            if request is None:
                break
            tasks.append(asyncio.create_task(self._follow(self._trace(start_s + after_s), request)))
        return list(await asyncio.gather(*tasks))

    async def closed_loop(self, requests: Iterable[Request], at_once: int) -> list[Trace]:
        """Keep `at_once` requests under way until all are sent."""
        left = iter(requests)

        async def user() -> list[Trace]:
            return [await self._follow(self._trace(self.now_s()), request) for request in left]

        return [
            trace for traces in await asyncio.gather(*(user() for _ in range(at_once))) for trace in traces
        ]

    async def verify(self, traces: Sequence[Trace]) -> None:
        """Ask for every started request once more, and fetch all its media; what differs becomes a breach."""
        turns = asyncio.Semaphore(CHECKS_AT_ONCE)

        async def check(trace: Trace) -> None:
            async with turns:
                await self._check(trace)

        await asyncio.gather(*(check(trace) for trace in traces if trace.outcome not in (REFUSED, LOST)))

    def _trace(self, due_s: float) -> Trace:
        trace = Trace(len(self.traces), due_s)
        self.traces.append(trace)
        return trace

    def _client(self, number: int) -> AsyncClient:
        return self._clients[number % len(self._clients)]

    async def _follow(self, trace: Trace, request: Request) -> Trace:
        try:
            async with asyncio.timeout(self._patience.give_up_s):
                while not trace.outcome:
                    await self._attend(trace, request)
        except TimeoutError:
            trace.lose(self.now_s())
        return trace

    async def _attend(self, trace: Trace, request: Request) -> None:
        """One stream to its end or its break: what had started is resumed, another sent again if that is safe."""
        client, began_s = self._client(trace.number), self.now_s()
        try:
            async for event in self._events(client, trace, request):
                trace.see(event, self.now_s())
        except AnyGPTError as error:
            is_safe = isinstance(error, Unavailable) and request.idempotency_key
            if not trace.request_id and not is_safe:
                trace.refuse(error, self.now_s())
            else:
                if not (isinstance(error, DeadlineExpired) and self._ran_out(began_s)):
                    trace.doubt(error)
                await asyncio.sleep(error.retry_after_ms / 1000 or RETRY_S)

    def _ran_out(self, began_s: float) -> bool:
        """Whether the deadline that we gave has passed: then it is our own side that ends a stream."""
        given_s = self._patience.deadline_s
        return given_s is not None and self.now_s() >= began_s + given_s

    def _events(self, client: AsyncClient, trace: Trace, request: Request) -> AsyncIterator[Event]:
        if trace.request_id:
            return client.resume(trace.request_id, trace.last_seq)
        return client.stream(request, self._patience.deadline_s)

    async def _check(self, trace: Trace) -> None:
        client = self._client(trace.number + 1)
        again = Trace(trace.number, trace.due_s)
        try:
            async with asyncio.timeout(self._patience.give_up_s):
                async for event in client.resume(trace.request_id, 0):
                    again.see(event, 0.0)
            for media in trace.media:
                data = await client.download(media.object)
                if hashlib.sha256(data).hexdigest() != media.sha256 or len(data) != media.size_bytes:
                    trace.breaches.append("media is not what its event says")
        except (AnyGPTError, TimeoutError) as error:
            trace.breaches.append(f"cannot be replayed or fetched: {getattr(error, 'reason', 'TIMEOUT')}")
        if again.digest != trace.digest and again.outcome in TERMINALS:
            trace.breaches.append("another story when it is replayed")
