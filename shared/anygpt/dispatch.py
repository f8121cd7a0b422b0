"""Dispatch: every open job waits in the queue or is with a worker; one that is neither is put into the queue again.

The store knows which jobs are open. Queue and memory may lose everything at any time, and workers die.
"""

from __future__ import annotations

import logging

from anygpt.errors import Unavailable
from anygpt.jobs import RUN_JOB, JobBook
from anygpt.memory import Memory
from anygpt.queue import Queue, enqueue

log = logging.getLogger(__name__)
QUEUED = b"queued"
QUEUED_S = 600.0
"""A job that waits longer is put into the queue once more: taking it twice does no harm."""
HELD_S = 30.0
"""A worker that is silent for so long has lost its job."""


class Dispatch:
    """Brings jobs to workers. What is remembered here is who has a job; the truth about it is in the book."""

    def __init__(self, queue: Queue, memory: Memory, book: JobBook) -> None:
        self._queue = queue
        self._memory = memory
        self._book = book

    async def send(self, tenant: str, job_id: str) -> None:
        """Put a job into the queue, unless it is there or with a worker; without a queue it waits to be revived."""
        key = _key(tenant, job_id)
        if await self._memory.set(key, QUEUED, QUEUED_S, if_absent=True):
            try:
                await enqueue(self._queue, RUN_JOB, tenant, job_id)
            except Unavailable as error:
                log.warning("job %s waits for the queue: %s", job_id, error.message)
                await self._memory.delete(key, QUEUED)

    async def take(self, tenant: str, job_id: str, worker: str) -> bool:
        """Take a job out of the queue; False when another worker has it."""
        key = _key(tenant, job_id)
        await self._memory.delete(key, QUEUED)
        return await self._memory.set(key, worker.encode(), HELD_S, if_absent=True)

    async def hold(self, tenant: str, job_id: str, worker: str) -> None:
        """Say that the worker still has the job."""
        await self._memory.set(_key(tenant, job_id), worker.encode(), HELD_S)

    async def drop(self, tenant: str, job_id: str, worker: str) -> None:
        """Give the job up, ended or not."""
        await self._memory.delete(_key(tenant, job_id), worker.encode())

    async def revive(self, *, is_start: bool) -> None:
        """Put every open job into the queue that is neither there nor with a worker.

        At the start of a worker those too that are said to be in the queue: one that died may have taken them out.
        """
        for tenant, job_id in await self._book.open_jobs():
            if is_start:
                await self._memory.delete(_key(tenant, job_id), QUEUED)
            await self.send(tenant, job_id)


def _key(tenant: str, job_id: str) -> str:
    return f"job/{tenant}/{job_id}"
