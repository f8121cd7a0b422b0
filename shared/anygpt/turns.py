"""Turns: a stage's places, given to whoever waits by weighted fair queueing between tenants, batch work apart.

Start-time fair queueing (Goyal, Vin, Cheng, 1996): each errand gets a start tag, the later of the clock and the end of
its tenant's last errand; the lowest tag goes first. A tenant that comes with one errand waits for no other's backlog.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from anygpt.stage import Call

BATCH_PART = 4
"""Batch work has one place for so many of interactive work; while a person's errand is here, it has one in all."""


class Turns:
    """The places of one stage. `shares` weighs tenants; who is not named weighs 1."""

    def __init__(self, capacity: int, shares: Mapping[str, float] | None = None) -> None:
        self.capacity = capacity
        self._people = 0
        """Interactive errands that work or wait."""
        self._lines = {
            False: _Line(lambda: capacity, shares or {}),
            True: _Line(lambda: 1 if self._people else max(1, capacity // BATCH_PART), shares or {}),
        }

    @asynccontextmanager
    async def turn(self, call: Call) -> AsyncIterator[None]:
        """Wait for a place of the call's class, and hold it."""
        line = self._lines[call.is_batch]
        self._people += not call.is_batch
        try:
            await line.enter(call.tenant)
            try:
                yield
            finally:
                line.leave()
        finally:
            self._people -= not call.is_batch
            self._lines[True].admit()


class _Line:
    def __init__(self, places: Callable[[], int], shares: Mapping[str, float]) -> None:
        self._places = places
        self._taken = 0
        self._shares = shares
        self._clock = 0.0
        self._ends: dict[str, float] = {}
        """Where each waiting or served tenant's last errand ends, on the clock of start tags."""
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    async def enter(self, tenant: str) -> None:
        start = max(self._clock, self._ends.get(tenant, 0.0))
        self._ends[tenant] = start + 1 / self._shares.get(tenant, 1.0)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (start, next(self._arrivals), place))
        self.admit()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        self._taken -= 1
        self.admit()

    def admit(self) -> None:
        """Give the free places to who waits, the lowest start tag first."""
        while self._waiting and self._taken < self._places():
            start, _, place = heapq.heappop(self._waiting)
            if not place.done():
                self._taken += 1
                self._advance(start)
                place.set_result(None)

    def _advance(self, start: float) -> None:
        """Move the clock to the errand that begins, and forget tenants that are behind it: they count as new."""
        self._clock = max(self._clock, start)
        for tenant in [name for name, end in self._ends.items() if end <= self._clock]:
            del self._ends[tenant]
