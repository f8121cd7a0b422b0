"""Turns: a stage's places, given to whoever waits by weighted fair queueing between tenants, batch work apart.

Start-time fair queueing (Goyal, Vin, Cheng, 1996): each errand gets a start tag, the later of the clock and the end of
its tenant's last errand; the lowest tag goes first. A tenant that comes with one errand waits for no other's backlog.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from anygpt.stage import Call

BATCH_PART = 4
"""Batch work has one place for so many of interactive work."""


class Turns:
    """The places of one stage. `shares` weighs tenants; who is not named weighs 1."""

    def __init__(self, capacity: int, shares: Mapping[str, float] | None = None) -> None:
        self.capacity = capacity
        self._lines = {
            False: _Line(capacity, shares or {}),
            True: _Line(max(1, capacity // BATCH_PART), shares or {}),
        }

    @asynccontextmanager
    async def turn(self, call: Call) -> AsyncIterator[None]:
        """Wait for a place of the call's class, and hold it."""
        line = self._lines[call.is_batch]
        await line.enter(call.tenant)
        try:
            yield
        finally:
            line.leave()


class _Line:
    def __init__(self, places: int, shares: Mapping[str, float]) -> None:
        self._free = places
        self._shares = shares
        self._clock = 0.0
        self._ends: dict[str, float] = {}
        """Where each waiting or served tenant's last errand ends, on the clock of start tags."""
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()

    async def enter(self, tenant: str) -> None:
        start = max(self._clock, self._ends.get(tenant, 0.0))
        self._ends[tenant] = start + 1 / self._shares.get(tenant, 1.0)
        if self._free:
            self._free -= 1
            self._advance(start)
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (start, next(self._arrivals), place))
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        while self._waiting:
            start, _, place = heapq.heappop(self._waiting)
            if not place.done():
                self._advance(start)
                place.set_result(None)
                return
        self._free += 1

    def _advance(self, start: float) -> None:
        """Move the clock to the errand that begins, and forget tenants that are behind it: they count as new."""
        self._clock = max(self._clock, start)
        for tenant in [name for name, end in self._ends.items() if end <= self._clock]:
            del self._ends[tenant]
