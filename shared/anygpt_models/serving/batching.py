"""Dynamic batching: what waits for the lane goes together, equal shapes only, and each is answered alone."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from numpy.typing import NDArray

from anygpt.lane import Lane
from anygpt.logs import FIELDS
from anygpt.metrics import BATCH_SIZE
from anygpt.stage import Call

Out = TypeVar("Out")
Array: TypeAlias = NDArray[Any]
Kind: TypeAlias = tuple[tuple[int, ...], bool]
"""Shape, and whether it is batch work: only equal kinds share a pass."""


@dataclass(frozen=True, slots=True)
class Batching:
    """How many go together at most, and how long the first waits for the others."""

    size: int = 1
    wait_ms: float = 0.0


@dataclass(eq=False, slots=True)
class _Entry(Generic[Out]):
    item: Array
    call: Call
    answer: asyncio.Future[tuple[Out, float]]


class Batcher(Generic[Out]):
    """Collects items while the lane is busy, or for a short time, then runs them in one step of the lane."""

    def __init__(self, lane: Lane, work: Callable[[list[Array]], Sequence[Out]], batching: Batching) -> None:
        self._lane = lane
        self._work = work
        self._batching = batching
        self._waiting: dict[Kind, deque[_Entry[Out]]] = {}
        self._servers: set[asyncio.Task[None]] = set()
        self._full = asyncio.Event()

    async def run(self, item: Array, call: Call) -> tuple[Out, float]:
        """The result of one item, and the seconds of the step that it was in."""
        kind = (item.shape, call.is_batch)
        entry = _Entry[Out](item, call, asyncio.get_running_loop().create_future())
        if kind in self._waiting:
            self._waiting[kind].append(entry)
            if len(self._waiting[kind]) >= self._batching.size:
                self._full.set()
        else:
            self._waiting[kind] = deque([entry])
            server = asyncio.create_task(self._serve(kind))
            self._servers.add(server)
            server.add_done_callback(self._servers.discard)
        return await entry.answer

    async def _serve(self, kind: Kind) -> None:
        waiting = self._waiting[kind]
        while waiting:
            await self._gather(waiting)
            taken: list[_Entry[Out]] = []
            step = partial(self._step, waiting, taken)
            [outcome] = await asyncio.gather(self._lane.run(step, batch=kind[1]), return_exceptions=True)
            BATCH_SIZE.labels(FIELDS.get().get("stage", "")).observe(len(taken))
            if isinstance(outcome, Exception) and len(taken) > 1:
                # Whoever broke it for all breaks it alone.
                for entry in taken:
                    alone = partial(self._timed, [entry])
                    [outcome] = await asyncio.gather(
                        self._lane.run(alone, batch=kind[1]), return_exceptions=True
                    )
                    _tell([entry], outcome)
            else:
                _tell(taken, outcome)
        del self._waiting[kind]

    async def _gather(self, waiting: deque[_Entry[Out]]) -> None:
        deadline = time.monotonic() + self._batching.wait_ms / 1000
        while len(waiting) < self._batching.size and (left := deadline - time.monotonic()) > 0:
            self._full.clear()
            try:
                await asyncio.wait_for(self._full.wait(), left)
            except TimeoutError:
                return

    def _step(self, waiting: deque[_Entry[Out]], taken: list[_Entry[Out]]) -> tuple[Sequence[Out], float]:
        """On the lane's thread: takes what waits now, but for those nobody waits for any more."""
        while waiting and len(taken) < self._batching.size:
            entry = waiting.popleft()
            if not entry.answer.done() and not entry.call.is_cancelled:
                taken.append(entry)
            else:
                entry.answer.get_loop().call_soon_threadsafe(entry.answer.cancel)
        return self._timed(taken)

    def _timed(self, taken: list[_Entry[Out]]) -> tuple[Sequence[Out], float]:
        began = time.perf_counter()
        outputs = self._work([entry.item for entry in taken]) if taken else []
        return outputs, time.perf_counter() - began


def _tell(taken: list[_Entry[Out]], outcome: tuple[Sequence[Out], float] | BaseException) -> None:
    """Give each its part of what came of a pass."""
    for place, entry in enumerate(taken):
        if entry.answer.done():
            continue
        if isinstance(outcome, BaseException):
            entry.answer.set_exception(outcome)
        else:
            entry.answer.set_result((outcome[0][place], outcome[1]))
