"""JobService: jobs are written down here, queued, and done by `batch` workers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from anygpt.dispatch import Dispatch
from anygpt.errors import InvalidInput, NotFound
from anygpt.grpc_door import call_of
from anygpt.jobs import ENDED, JobBook
from anygpt.memory import Memory
from anygpt.paging import new_dated_id
from anygpt.queue import broker_url, open_queue
from anygpt.store import Store
from anygpt.v1 import job_service_pb2, job_service_pb2_grpc, types_pb2
from services.gateway.idempotency import IdempotencyKeys
from services.gateway.intake import Intake
from services.gateway.media import LINES
from services.gateway.settings import Settings

WATCH_S = 0.5


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """Creates, tells about and cancels batch jobs."""

    def __init__(self, settings: Settings, store: Store, memory: Memory, intake: Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._book = JobBook(store)
        self._keys = IdempotencyKeys(store, "jobs")
        self._dispatch = Dispatch(open_queue(broker_url(settings, settings.broker)), memory, self._book)

    async def CreateJob(self, request: job_service_pb2.CreateJobRequest, context: Any) -> Any:
        """See JobService."""
        tenant = self._tenant(context)
        reference = await self._intake.find(tenant, request.requests.object, "requests.object")
        if reference.media_type not in LINES:
            raise InvalidInput("requests are one JSON object a line", reason="NOT_JSONL", field="requests")
        own_id, name = new_dated_id(), request.idempotency_key
        body = types_pb2.MediaRef(object=reference.object)
        job_id = await self._keys.claim(tenant, name, body, own_id)
        if job_id != own_id:
            with suppress(NotFound):
                return job_service_pb2.CreateJobResponse(job=await self._book.get(tenant, job_id))
        request.requests.CopyFrom(reference)
        job = await self._book.create(tenant, job_id, request)
        await self._dispatch.send(tenant, job_id)
        return job_service_pb2.CreateJobResponse(job=job)

    async def GetJob(self, request: Any, context: Any) -> Any:
        """See JobService."""
        return job_service_pb2.GetJobResponse(job=await self._book.get(self._tenant(context), request.job_id))

    async def ListJobs(self, request: Any, context: Any) -> Any:
        """See JobService."""
        return await self._book.list(self._tenant(context), min(request.page_size, 1000), request.page_token)

    async def WatchJob(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """See JobService."""
        tenant, last = self._tenant(context), None
        while last is None or last.state not in ENDED:
            job = await self._book.get(tenant, request.job_id)
            if job != last:
                yield job_service_pb2.WatchJobResponse(job=job)
                last = job
            await asyncio.sleep(WATCH_S)

    async def CancelJob(self, request: Any, context: Any) -> Any:
        """See JobService."""
        tenant = self._tenant(context)
        job = await self._book.get(tenant, request.job_id)
        if job.state not in ENDED:
            await self._book.ask_to_cancel(tenant, job.job_id)
        return job_service_pb2.CancelJobResponse(job=job)

    def _tenant(self, context: Any) -> str:
        return call_of(context, self._settings.limits.deadline_ms).tenant
