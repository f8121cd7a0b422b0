"""Long work in steps: a call that was written to run through, run one step at a time.

A diffusers pipeline has one entry and a callback at each step. It runs in a thread of its own that stands still
unless it is told to go on to its next pause; whoever tells it waits meanwhile. So each step is one short piece of
the lane's time, other work comes in between, and a cancelled request stops at its next step.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

from anygpt.lane import Lane
from anygpt.stage import Call

T = TypeVar("T")
Pause: TypeAlias = Callable[[Any], Any]
"""Ends a step with a value for the outside; returns what the outside replies when it goes on."""


class Abandoned(Exception):
    """Raised in the work's own thread: nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Paused:
    """A step has ended; the value is what the work gave."""

    value: Any
    seconds: float


@dataclass(frozen=True, slots=True)
class Finished(Generic[T]):
    """The work has ended with a result."""

    result: T
    seconds: float


class SteppedWork(Generic[T]):
    """One piece of work that goes from pause to pause."""

    def __init__(self, work: Callable[[Pause], T]) -> None:
        self._work = work
        self._replies: SimpleQueue[Any] = SimpleQueue()
        self._pauses: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        self._end: Future[T] | None = None
        self._is_abandoned = False

    def advance(self, reply: Any = None) -> Paused | Finished[T]:
        """Run to the next pause or to the end; blocks meanwhile. Raises what the work raises."""
        began = time.perf_counter()
        if self._end is None:
            self._end = self._start()
        else:
            self._replies.put(reply)
        paused = self._pauses.get()
        seconds = time.perf_counter() - began
        return Paused(paused[0], seconds) if paused else Finished(self._end.result(), seconds)

    def abandon(self) -> None:
        """Let the thread end at its next pause, or at once when it stands in one."""
        self._is_abandoned = True
        self._replies.put(None)

    def _start(self) -> Future[T]:
        executor = ThreadPoolExecutor(1, "stepped-work")
        end = executor.submit(self._work, self._pause)
        end.add_done_callback(lambda _: self._pauses.put(()))
        executor.shutdown(wait=False)
        return end

    def _pause(self, value: Any) -> Any:
        if self._is_abandoned:
            raise Abandoned
        self._pauses.put((value,))
        reply = self._replies.get()
        if self._is_abandoned:
            raise Abandoned
        return reply


async def steps_of(
    work: Callable[[Pause], T], lane: Lane, call: Call, reply: Callable[[Any], Awaitable[Any]] | None = None
) -> AsyncGenerator[Paused | Finished[T]]:
    """Run work on the lane, one step a turn; the request's cancel and deadline are checked before each.

    `reply` is awaited with each paused value, off the lane, for what the work is to be told.
    """
    stepped = SteppedWork(work)
    told: Any = None
    try:
        while True:
            call.check()
            step = await lane.run(partial(stepped.advance, told), batch=call.is_batch)
            yield step
            if isinstance(step, Finished):
                return
            told = await reply(step.value) if reply else None
    finally:
        stepped.abandon()
