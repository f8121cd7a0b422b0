"""The step loop: everybody who runs takes part in each step, and each step takes its turn on the lane."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Protocol

from anygpt.errors import AnyGPTError, Exhausted, Unavailable
from anygpt.lane import Lane
from anygpt.metrics import BATCH_SIZE
from anygpt.topology import GENERATOR
from anygpt.v1 import stages_pb2
from services.llm.generation import Generation
from services.llm.pages import Table
from services.llm.scheduler import Bounds, Scheduler
from services.llm.step import Fed, Feed

log = logging.getLogger(__name__)


class StepFailed(Exception):
    """What nobody foresaw ended a request's work: as after a crash, it may be tried again."""


class Model(Protocol):
    """What the engine needs of a model runner."""

    def step(self, feeds: list[Feed]) -> list[Fed]:
        """Feed positions and draw tokens."""
        ...


class Engine:
    """Runs generations until they are done, cancelled or expired."""

    def __init__(self, model: Model, lane: Lane, bounds: Bounds) -> None:
        self._model = model
        self._lane = lane
        self._bounds = bounds
        self.scheduler = Scheduler(bounds)
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to step."""
        self._loop = asyncio.create_task(self._run())
        self._loop.add_done_callback(self._ended)

    async def close(self) -> None:
        """Stop stepping; whoever still runs is told."""
        if self._loop:
            self._loop.cancel()
            await asyncio.wait([self._loop])

    async def ended(self) -> None:
        """Wait until no step will follow; raises what broke the last."""
        if self._loop:
            await asyncio.shield(self._loop)

    async def probe(self) -> None:
        """Run a step that is about nobody; raises what it raises. Where others fill the cache, nothing is tried."""
        table = Table()
        if not self.scheduler.pages.extend(table, 1):
            return
        try:
            await self._lane.run(lambda: self._model.step([Feed(table.numbers, 0, [0])]))
        finally:
            self.scheduler.pages.close(table, (), 0)

    async def generate(self, generation: Generation) -> AsyncGenerator[stages_pb2.GenerateTokensResponse]:
        """Yield the answer as it grows. Raises Exhausted when full, StepFailed, and whatever ends the call early."""
        if self._loop is None or self._loop.done():
            raise Unavailable("the generator is not running", retry_after_ms=1000)
        self.scheduler.add(generation)
        self._wake.set()
        try:
            while (output := await generation.outputs.get()) is not None:
                if isinstance(output, Exception):
                    raise output
                yield output
        finally:
            # A caller that went away frees the slot; after a normal end there is nothing left to release.
            generation.is_abandoned = True
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._sweep()
            for generation in self.scheduler.admit():
                generation.times.admitted = generation.times.admitted or time.monotonic()
            plan = self.scheduler.plan()
            if not plan:
                self._wake.clear()
                await self._wake.wait()
                continue
            await self._step(plan)

    async def _step(self, plan: list[tuple[Generation, Feed]]) -> None:
        feeds = [feed for _, feed in plan]
        batch = all(generation.call.is_batch for generation, _ in plan)
        try:
            results = await self._lane.run(lambda: self._model.step(feeds), batch=batch)
        except Exhausted as error:
            # The newest gives way, the others try again without it.
            self._refuse(
                max((generation for generation, _ in plan), key=lambda one: one.times.admitted), error
            )
            return
        except Exception as error:
            log.exception("a step of %d requests failed", len(plan))
            await self._take_apart(plan, error)
            return
        BATCH_SIZE.labels(GENERATOR.name).observe(len(plan))
        for (generation, feed), fed in zip(plan, results, strict=True):
            try:
                self._take(generation, feed, fed)
            except Exception as error:
                log.exception("an answer cannot go on")
                self._refuse(generation, _failed(error))

    async def _take_apart(self, plan: list[tuple[Generation, Feed]], error: Exception) -> None:
        """After a step that failed, feed each of its requests alone: only those that fail again are ended."""
        if len(plan) == 1:
            self._refuse(plan[0][0], _failed(error))
            return
        for entry in plan:
            await self._step([entry])

    def _take(self, generation: Generation, feed: Feed, fed: Fed) -> None:
        if feed.draw and fed.token is None:
            self._refuse(generation, AnyGPTError("the model's numbers are not finite"))
            return
        generation.take(feed, fed)
        self.scheduler.record(generation)
        if generation.is_done:
            self.scheduler.release(generation)
            generation.finish()

    def _sweep(self) -> None:
        """Drop who was cancelled, has expired or went away."""
        for generation in (*self.scheduler.running, *self.scheduler.waiting):
            if generation.is_abandoned:
                self.scheduler.release(generation)
                continue
            try:
                generation.call.check()
            except AnyGPTError as error:
                self._refuse(generation, error)

    def _refuse(self, generation: Generation, error: Exception) -> None:
        self.scheduler.release(generation)
        generation.fail(error)

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Nobody waits for a loop that has ended."""
        cause = None if loop.cancelled() else loop.exception()
        for generation in (*self.scheduler.running, *self.scheduler.waiting):
            stopped = Unavailable("the generator stopped", retry_after_ms=1000)
            self._refuse(generation, _failed(cause) if cause else stopped)


def _failed(cause: BaseException) -> StepFailed:
    """An error of its own for each caller: tracebacks grow in those that are raised."""
    failed = StepFailed(f"a step of the generator failed: {cause}")
    failed.__cause__ = cause
    return failed
