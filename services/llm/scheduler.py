"""Decides who is fed in the next step: requests join and leave at every step, people before batch work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from anygpt.errors import Exhausted
from services.llm.generation import Generation
from services.llm.pages import PAGE, PageTable
from services.llm.step import Feed

IN_A_ROW = 4
"""A waiting batch request is admitted after so many interactive ones, however many more of those wait."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the engine holds at most."""

    slots: int
    """Requests that run at once."""
    rows: int
    """Positions of one step."""
    waiting: int
    """Requests in the waiting room."""
    waiting_tokens: int
    """Prompt positions in the waiting room."""
    pages: int
    """Pages of the cache: more than one request can ever fill."""


class Scheduler:
    """The waiting room, who runs, and the plan of each step. Knows nothing of models and time."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._waiting: dict[bool, deque[Generation]] = {False: deque(), True: deque()}
        self._in_a_row = 0
        self.pages = PageTable(bounds.pages)
        self.running: list[Generation] = []
        """In the order of admission."""
        self.preemptions = 0

    @property
    def waiting(self) -> list[Generation]:
        """Who waits for a slot."""
        return [*self._waiting[False], *self._waiting[True]]

    @property
    def free_slots(self) -> int:
        """Slots that nobody holds."""
        return self._bounds.slots - len(self.running)

    def add(self, generation: Generation) -> None:
        """Let a request wait. Raises Exhausted when the waiting room is full."""
        waiting = self.waiting
        tokens = sum(one.pending for one in waiting) + generation.pending
        if len(waiting) >= self._bounds.waiting or (waiting and tokens > self._bounds.waiting_tokens):
            raise Exhausted("too many requests are waiting", reason="WAITING_ROOM_FULL", retry_after_ms=1000)
        self._waiting[generation.call.is_batch].append(generation)

    def admit(self) -> Iterator[Generation]:
        """Let in who waits, while there are slots and pages; batch work leaves the last slot to people who may come."""
        while self.free_slots:
            batch = self._next_is_batch()
            if batch is None or not self._seat(self._waiting[batch][0]):
                return
            generation = self._waiting[batch].popleft()
            self._in_a_row = 0 if batch else self._in_a_row + 1
            yield generation

    def plan(self) -> list[tuple[Generation, Feed]]:
        """Who is fed what: first all that write, one position each, then prompts while there are rows left."""
        left = self._bounds.rows
        counts: dict[Generation, int] = {}
        for generation in sorted(self.running, key=lambda one: (one.pending > 1, one.call.is_batch)):
            count = min(left, generation.pending)
            if count and self._reserve(generation, generation.fed + count):
                counts[generation] = count
                left -= count
        plan = [(one, one.feed(count)) for one, count in counts.items() if one in self.running]
        # Packing wants feeds of one position first.
        return sorted(plan, key=lambda one: len(one[1].ids) > 1)

    def record(self, generation: Generation) -> None:
        """A step is done: what it filled can be shared."""
        self.pages.record(generation.table, generation.cache_keys, generation.fed)

    def release(self, generation: Generation) -> None:
        """Take pages or place from a request that is done, failed or gone."""
        if generation in self.running:
            self._unseat(generation)
        elif generation in self._waiting[generation.call.is_batch]:
            self._waiting[generation.call.is_batch].remove(generation)

    def _next_is_batch(self) -> bool | None:
        people, batch = self._waiting[False], self._waiting[True]
        if people:
            return bool(batch) and self._in_a_row >= IN_A_ROW
        return True if batch and (self.free_slots > 1 or self._bounds.slots == 1) else None

    def _seat(self, generation: Generation) -> bool:
        """Give a request what is known of its beginning; False where the rest would not fit beside those who run."""
        kind = (generation.call.tenant, generation.order.adapter)
        table, known = self.pages.open(kind, generation.reusable)
        needed = -(-len(generation.keys) // PAGE) - len(table.numbers) + len(self.running)
        if self.running and needed > self.pages.available:
            self.pages.close(table, generation.cache_keys, known)
            return False
        generation.sit(table, known)
        self.running.append(generation)
        return True

    def _unseat(self, generation: Generation) -> None:
        self.running.remove(generation)
        self.pages.close(generation.table, generation.cache_keys, generation.fed)
        generation.leave()

    def _reserve(self, generation: Generation, length: int) -> bool:
        """Make room for a sequence's next positions; the newest give way, batch work first."""
        while generation in self.running:
            if self.pages.extend(generation.table, length):
                return True
            newest = max(enumerate(self.running), key=lambda one: (one[1].call.is_batch, one[0]))[1]
            self._unseat(newest)
            self._waiting[newest.call.is_batch].appendleft(newest)
            self.preemptions += 1
        return False
