"""A lane: the one thread that may use a device. Steps of many models take turns on it, interactive work first."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from anygpt.logs import FIELDS
from anygpt.metrics import STEP_SECONDS, STEP_WAIT_SECONDS

T = TypeVar("T")


class Lane:
    """Runs one step at a time, in the order of (priority, arrival).

    A step is a short piece of model work: one encode, one decode step, one denoise step. Whoever has more to do comes
    back for the next step, so that nobody waits longer than one step of another.
    """

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"lane-{name}")
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()
        self._busy = False

    async def run(self, step: Callable[[], T], *, batch: bool = False) -> T:
        """Run `step` on the lane's thread. A cancelled caller leaves the queue; a step that began runs to its end."""
        stage, asked = FIELDS.get().get("stage", ""), time.perf_counter()
        await self._enter(batch)
        STEP_WAIT_SECONDS.labels(stage).observe(time.perf_counter() - asked)
        timed = partial(_timed, step, stage)
        task = asyncio.get_running_loop().run_in_executor(self._executor, timed)
        task.add_done_callback(lambda _: self._leave())
        return await task

    async def _enter(self, batch: bool) -> None:
        if not self._busy:
            self._busy = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (int(batch), next(self._arrivals), turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
            elif not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            entry = min(self._waiting, key=lambda waiting: waiting[:2])
            self._waiting.remove(entry)
            if not entry[2].done():
                entry[2].set_result(None)
                return
        self._busy = False

    def close(self) -> None:
        """Wait for the step under way and end the thread."""
        self._executor.shutdown(wait=True)


def _timed(step: Callable[[], T], stage: str) -> T:
    with STEP_SECONDS.labels(stage).time():
        return step()
