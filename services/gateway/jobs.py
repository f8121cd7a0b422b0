"""JobService: jobs are written down here, queued, and done by `batch` workers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from anygpt.errors import Conflict, InvalidInput
from anygpt.grpc_door import call_of
from anygpt.jobs import ENDED, RUN_JOB, JobBook
from anygpt.queue import broker_url, open_queue
from anygpt.store import Store
from anygpt.v1 import job_service_pb2, job_service_pb2_grpc
from services.gateway.intake import Intake
from services.gateway.media import LINES
from services.gateway.settings import Settings

WATCH_S = 0.5


class JobServicer(job_service_pb2_grpc.JobServiceServicer):
    """Creates, tells about and cancels batch jobs."""

    def __init__(self, settings: Settings, store: Store, intake: Intake) -> None:
        self._settings = settings
        self._store = store
        self._intake = intake
        self._book = JobBook(store)
        self._queue = open_queue(broker_url(settings, settings.broker))

    async def CreateJob(self, request: job_service_pb2.CreateJobRequest, context: Any) -> Any:
        """See JobService."""
        tenant = self._tenant(context)
        reference = await self._intake.find(tenant, request.requests.object, "requests.object")
        if reference.media_type not in LINES:
            raise InvalidInput("requests are one JSON object a line", reason="NOT_JSONL", field="requests")
        earlier = await self._earlier(tenant, request)
        if earlier:
            return job_service_pb2.CreateJobResponse(job=await self._book.get(tenant, earlier))
        request.requests.CopyFrom(reference)
        job = await self._book.create(tenant, request)
        await self._claim(tenant, request, job.job_id)
        await asyncio.to_thread(self._queue.send_task, RUN_JOB, args=[tenant, job.job_id])
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

    async def _earlier(self, tenant: str, request: job_service_pb2.CreateJobRequest) -> str:
        if not request.idempotency_key:
            return ""
        found = await self._store.list(_key(tenant, request))
        if not found:
            return ""
        job_id, body = (await self._store.get(_key(tenant, request), 1024)).decode().split()
        if body != _body(request):
            raise Conflict("the key was used for another body", reason="KEY_REUSED", field="idempotency_key")
        return job_id

    async def _claim(self, tenant: str, request: job_service_pb2.CreateJobRequest, job_id: str) -> None:
        if request.idempotency_key:
            value = f"{job_id} {_body(request)}".encode()
            await self._store.put(_key(tenant, request), value, "text/plain", if_absent=True)

    def _tenant(self, context: Any) -> str:
        return call_of(context, self._settings.limits.deadline_ms).tenant


def _key(tenant: str, request: job_service_pb2.CreateJobRequest) -> str:
    return f"{tenant}/idempotency-jobs/{hashlib.sha256(request.idempotency_key.encode()).hexdigest()}"


def _body(request: job_service_pb2.CreateJobRequest) -> str:
    return hashlib.sha256(request.requests.object.encode()).hexdigest()
