"""Decides who is fed in the next step: requests join and leave at every step, people before batch work."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from anygpt.errors import Exhausted
from services.llm.generation import Generation
from services.llm.step import Feed

IN_A_ROW = 4
"""A waiting batch request is admitted after so many interactive ones, however many more of those wait."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the engine holds at most."""

    slots: int
    rows: int
    """Positions of one step."""
    waiting: int
    """Requests in the waiting room."""
    waiting_tokens: int
    """Prompt positions in the waiting room."""


class Scheduler:
    """The waiting room, the slots, and the plan of each step. Knows nothing of models and time."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._waiting: dict[bool, deque[Generation]] = {False: deque(), True: deque()}
        self._in_a_row = 0
        self._kept: list[list[int]] = [[] for _ in range(bounds.slots)]
        """What each free slot still holds, for whoever begins alike."""
        self._free = list(range(bounds.slots))
        """Longest free first."""
        self.running: list[Generation] = []

    @property
    def waiting(self) -> list[Generation]:
        """Who waits for a slot."""
        return [*self._waiting[False], *self._waiting[True]]

    @property
    def free_slots(self) -> int:
        """Slots that nobody holds."""
        return len(self._free)

    def add(self, generation: Generation) -> None:
        """Let a request wait. Raises Exhausted when the waiting room is full."""
        waiting = self.waiting
        tokens = sum(one.pending for one in waiting) + generation.pending
        if len(waiting) >= self._bounds.waiting or (waiting and tokens > self._bounds.waiting_tokens):
            raise Exhausted("too many requests are waiting", reason="WAITING_ROOM_FULL", retry_after_ms=1000)
        self._waiting[generation.call.is_batch].append(generation)

    def admit(self) -> Iterator[Generation]:
        """Give free slots to who waits; a batch request leaves the last one to people."""
        while self._free:
            batch = self._next_is_batch()
            if batch is None:
                return
            generation = self._waiting[batch].popleft()
            self._in_a_row = 0 if batch else self._in_a_row + 1
            self._seat(generation)
            yield generation

    def plan(self) -> list[tuple[Generation, Feed]]:
        """Who is fed what: first all that write, one position each, then prompts while there are rows left."""
        left = self._bounds.rows
        plan: list[tuple[Generation, Feed]] = []
        for generation in sorted(self.running, key=lambda one: (one.pending > 1, one.call.is_batch)):
            if left > 0 and generation.pending:
                feed = generation.feed(left)
                plan.append((generation, feed))
                left -= len(feed.ids)
        # Packing wants feeds of one position first, in ascending slots.
        return sorted(plan, key=lambda one: (len(one[1].ids) > 1, one[1].slot))

    def release(self, generation: Generation) -> None:
        """Take slot or place from a request that is done, failed or gone."""
        if generation in self.running:
            self.running.remove(generation)
            self._free.append(generation.slot)
            self._kept[generation.slot] = generation.keys[: generation.fed]
        elif generation in self._waiting[generation.call.is_batch]:
            self._waiting[generation.call.is_batch].remove(generation)

    def _next_is_batch(self) -> bool | None:
        people, batch = self._waiting[False], self._waiting[True]
        may_batch = bool(batch) and (len(self._free) > 1 or self._bounds.slots == 1)
        if people and not (may_batch and self._in_a_row >= IN_A_ROW):
            return False
        return True if may_batch else None

    def _seat(self, generation: Generation) -> None:
        shared = {slot: _shared(self._kept[slot], generation.reusable) for slot in self._free}
        slot = max(shared, key=lambda slot: shared[slot])
        self._free.remove(slot)
        generation.sit(slot, shared[slot])
        self.running.append(generation)


def _shared(kept: list[int], keys: list[int]) -> int:
    """Length of the common beginning."""
    pairs = zip(kept, keys, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
