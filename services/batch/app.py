"""The batch worker: takes jobs from the queue, one at a time, and runs them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from typing import Any

import grpc

from anygpt.client import AsyncClient
from anygpt.jobs import RUN_JOB
from anygpt.main import Runtime
from anygpt.queue import broker_url, open_queue
from services.batch.runner import JobRunner
from services.batch.settings import Settings

log = logging.getLogger(__name__)


class Batch:
    """A Celery worker on a thread of its own; the work itself runs on the service's event loop."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._queue = open_queue(broker_url(settings, settings.broker))
        self._worker: Any = None
        self._thread: threading.Thread | None = None
        self._running: set[asyncio.Task[None]] = set()

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Nothing of its own: jobs come from the queue."""
        return ()

    async def open(self) -> None:
        """Begin to take jobs."""
        loop = asyncio.get_running_loop()
        runner = JobRunner(
            self._runtime.store, self._connect, self._settings.job_lines, self._settings.limits.media_bytes
        )

        def run_job(tenant: str, job_id: str) -> None:
            asyncio.run_coroutine_threadsafe(runner.run(tenant, job_id), loop).result()

        self._queue.task(name=RUN_JOB)(run_job)
        self._worker = self._queue.WorkController(pool="solo", concurrency=1, loglevel="WARNING")
        self._thread = threading.Thread(target=self._worker.start, name="batch-worker", daemon=True)
        self._thread.start()

    def _connect(self, tenant: str) -> AsyncClient:
        return AsyncClient(self._settings.gateway or self._runtime.address, tenant)

    async def drain(self, seconds: float) -> None:
        """Take no more jobs; the one under way is delivered again if it does not end."""
        if self._worker is not None:
            await asyncio.to_thread(self._worker.stop)

    async def close(self) -> None:
        """Wait for the thread."""
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 5.0)
        self._queue.close()


def build(settings: Settings, runtime: Runtime) -> Batch:
    """Build the batch worker."""
    return Batch(settings, runtime)
