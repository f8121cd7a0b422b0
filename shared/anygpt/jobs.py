"""Jobs: their truth is two objects each in the store, the request as it came and the state as it is."""

from __future__ import annotations

import asyncio

from anygpt.errors import InvalidInput, NotFound
from anygpt.keeping import hold_media
from anygpt.paging import page_of
from anygpt.store import Store
from anygpt.v1 import job_service_pb2

ENDED = frozenset(
    {
        job_service_pb2.JOB_STATE_SUCCEEDED,
        job_service_pb2.JOB_STATE_PARTIAL,
        job_service_pb2.JOB_STATE_FAILED,
        job_service_pb2.JOB_STATE_CANCELLED,
    }
)
RUN_JOB = "anygpt.batch.run_job"
"""Name of the queue task that runs a job, with its tenant and id."""
JOB_LIMIT = 1024 * 1024
OPEN_JOBS = "_open-jobs/"
"""Where a mark for each job lies that has not ended, by tenant; no tenant's name begins so."""


def job_folder(tenant: str, job_id: str) -> str:
    """Where a job's objects lie. Raises InvalidInput for what is no job id."""
    if not (job_id.isalnum() and job_id.isascii() and len(job_id) <= 64):
        raise InvalidInput("this is no job id", field="job_id")
    return f"{tenant}/jobs/{job_id}"


class JobBook:
    """Creates, reads and changes the jobs of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(
        self, tenant: str, job_id: str, request: job_service_pb2.CreateJobRequest
    ) -> job_service_pb2.Job:
        """Write down a queued job, and that it is open."""
        job = job_service_pb2.Job(job_id=job_id, state=job_service_pb2.JOB_STATE_QUEUED)
        job.created_at.GetCurrentTime()
        await hold_media(self._store, tenant, [request.requests], job_id)
        request_key = f"{job_folder(tenant, job_id)}/request"
        await self._store.put(request_key, request.SerializeToString(), "application/protobuf")
        await self._store.put(f"{OPEN_JOBS}{tenant}/{job_id}", b"", "text/plain")
        await self.write(tenant, job)
        return job

    async def open_jobs(self) -> list[tuple[str, str]]:
        """Tenant and id of every job that has not ended."""
        found = await self._store.list(OPEN_JOBS)
        return [(tenant, job_id) for tenant, job_id in (each.key.split("/")[1:] for each in found)]

    async def end(
        self, tenant: str, job: job_service_pb2.Job, state: job_service_pb2.JobState.ValueType
    ) -> None:
        """Write a job's last state, and that it is open no more."""
        job.state = state
        job.ended_at.GetCurrentTime()
        await self.write(tenant, job)
        await self.close(tenant, job.job_id)

    async def close(self, tenant: str, job_id: str) -> None:
        """Take the mark of an open job away."""
        await self._store.delete(f"{OPEN_JOBS}{tenant}/{job_id}")

    async def get(self, tenant: str, job_id: str) -> job_service_pb2.Job:
        """A job as it is. Raises NotFound."""
        try:
            return job_service_pb2.Job.FromString(
                await self._store.get(f"{job_folder(tenant, job_id)}/state", JOB_LIMIT)
            )
        except NotFound:
            raise NotFound("there is no such job", field="job_id") from None

    async def request(self, tenant: str, job_id: str) -> job_service_pb2.CreateJobRequest:
        """What the job was asked to do."""
        raw = await self._store.get(f"{job_folder(tenant, job_id)}/request", JOB_LIMIT)
        return job_service_pb2.CreateJobRequest.FromString(raw)

    async def write(self, tenant: str, job: job_service_pb2.Job) -> None:
        """Write a job's state."""
        key = f"{job_folder(tenant, job.job_id)}/state"
        await self._store.put(key, job.SerializeToString(), "application/protobuf")

    async def ask_to_cancel(self, tenant: str, job_id: str) -> None:
        """Leave word for whoever runs the job."""
        await self._store.put(f"{job_folder(tenant, job_id)}/cancel", b"cancel", "text/plain")

    async def is_cancelled(self, tenant: str, job_id: str) -> bool:
        """Whether somebody asked to cancel the job."""
        return bool(await self._store.list(f"{job_folder(tenant, job_id)}/cancel"))

    async def list(self, tenant: str, page_size: int, page_token: str) -> job_service_pb2.ListJobsResponse:
        """One page, newest first."""
        page, token = page_of(await self._store.folders(f"{tenant}/jobs/"), page_size, page_token)
        jobs = await asyncio.gather(*(self.get(tenant, each) for each in page))
        return job_service_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)
