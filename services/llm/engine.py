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
from services.llm.scheduler import Bounds, Scheduler
from services.llm.step import Fed, Feed

log = logging.getLogger(__name__)
MOST_BROKEN = 3
"""Requests whose steps failed one after the other, none that went well between them: then it is not the requests."""


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
        self._broken = 0

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

    async def generate(self, generation: Generation) -> AsyncGenerator[stages_pb2.GenerateTokensResponse]:
        """Yield the answer as it grows. Raises Exhausted when full, and whatever ends the call early."""
        if self._loop is None or self._loop.done():
            raise Unavailable("the generator is not running", retry_after_ms=1000)
        self.scheduler.add(generation)
        self._wake.set()
        try:
            while (output := await generation.outputs.get()) is not None:
                if isinstance(output, AnyGPTError):
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
        except Exception as error:  # noqa: BLE001  whatever breaks a step ends the request that it is about
            await self._take_apart(plan, error)
            return
        self._broken = 0
        BATCH_SIZE.labels(GENERATOR.name).observe(len(plan))
        for (generation, feed), fed in zip(plan, results, strict=True):
            if feed.draw and fed.token is None:
                self._refuse(generation, AnyGPTError("the model's numbers are not finite"))
                continue
            generation.take(feed, fed)
            self.scheduler.record(generation)
            if generation.is_done:
                self.scheduler.release(generation)
                generation.finish()

    async def _take_apart(self, plan: list[tuple[Generation, Feed]], error: Exception) -> None:
        """After a step that failed, feed each of its requests alone: only those that fail again are ended.

        Raises the error when it is the model that fails, whoever is fed.
        """
        if len(plan) > 1:
            for entry in plan:
                await self._step([entry])
            return
        self._broken += 1
        log.error("a step of the generator failed", exc_info=error)
        self._refuse(plan[0][0], AnyGPTError("a step of the generator failed"))
        if self._broken >= MOST_BROKEN:
            raise error

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

    def _refuse(self, generation: Generation, error: AnyGPTError) -> None:
        self.scheduler.release(generation)
        generation.fail(error)

    def _ended(self, loop: asyncio.Task[None]) -> None:
        """Nobody waits for a loop that has ended."""
        cause = None if loop.cancelled() else loop.exception()
        stopped = Unavailable("the generator stopped", retry_after_ms=1000)
        error = stopped if cause is None else AnyGPTError("a step of the generator failed")
        for generation in (*self.scheduler.running, *self.scheduler.waiting):
            self._refuse(generation, error)
