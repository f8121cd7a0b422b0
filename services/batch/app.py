"""The batch worker: takes jobs from the queue, one at a time, and runs them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import grpc

from anygpt.client import AsyncClient
from anygpt.credentials import Credentials
from anygpt.dispatch import Dispatch
from anygpt.errors import Unavailable
from anygpt.jobs import RUN_JOB, JobBook
from anygpt.main import Runtime
from anygpt.memory import LossyMemory
from anygpt.queue import QueueWorker, Redeliver, broker_url, open_queue
from services.batch.runner import JobRunner
from services.batch.settings import Settings

log = logging.getLogger(__name__)
REVIVE_S = 5.0


class Batch:
    """Jobs come from the queue's thread; the work itself runs on the service's event loop."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        queue = open_queue(broker_url(settings, settings.broker))
        self._worker = QueueWorker(queue)
        book = JobBook(runtime.store)
        self._dispatch = Dispatch(queue, LossyMemory(runtime.memory), book)
        self._reviving: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Nothing of its own: jobs come from the queue."""
        return ()

    async def open(self) -> None:
        """Begin to take jobs."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        runner = JobRunner(
            self._runtime.store,
            self._dispatch,
            self._connect,
            settings.job_lines,
            settings.limits.media_bytes,
        )

        def run_job(tenant: str, job_id: str) -> None:
            is_done = asyncio.run_coroutine_threadsafe(self._run(runner, tenant, job_id), loop).result()
            if not is_done:
                raise Redeliver(requeue=True)

        self._worker.open(RUN_JOB, run_job)
        self._reviving = asyncio.create_task(self._revive())

    async def _run(self, runner: JobRunner, tenant: str, job_id: str) -> bool:
        """Whether the job ended here; else another worker goes on with it."""
        if self._worker.is_draining:
            return False
        self._running = asyncio.create_task(runner.run(tenant, job_id))
        try:
            await self._running
        except asyncio.CancelledError:
            return False
        finally:
            self._running = None
        return True

    async def _revive(self) -> None:
        is_start = True
        while True:
            try:
                await self._dispatch.revive(is_start=is_start)
                is_start = False
            except Unavailable as error:
                log.warning("open jobs cannot be looked up: %s", error.message)
            await asyncio.sleep(REVIVE_S)

    def _connect(self, tenant: str) -> AsyncClient:
        settings = self._settings
        if settings.gateway:
            return AsyncClient(settings.gateway, tenant, Credentials.of(settings.client))
        return AsyncClient(self._runtime.address, tenant, Credentials(token=self._runtime.own_key))

    async def drain(self, seconds: float) -> None:
        """Take no more jobs, and leave the one under way to another worker; its requests go on without us."""
        self._worker.refuse()
        left = [task for task in (self._reviving, self._running) if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._worker.drain(seconds)

    async def close(self) -> None:
        """Stop."""
        await self._worker.close()


def build(settings: Settings, runtime: Runtime) -> Batch:
    """Build the batch worker."""
    return Batch(settings, runtime)
