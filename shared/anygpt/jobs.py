"""Jobs: their truth is two objects each in the store, the request as it came and the state as it is."""

from __future__ import annotations

from anygpt.errors import InvalidInput, NotFound
from anygpt.identity import new_id
from anygpt.stage import now_ms
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


def job_folder(tenant: str, job_id: str) -> str:
    """Where a job's objects lie. Raises InvalidInput for what is no job id."""
    if not (job_id.isalnum() and job_id.isascii() and len(job_id) <= 64):
        raise InvalidInput("this is no job id", field="job_id")
    return f"{tenant}/jobs/{job_id}"


class JobBook:
    """Creates, reads and changes the jobs of all tenants."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, tenant: str, request: job_service_pb2.CreateJobRequest) -> job_service_pb2.Job:
        """Write down a queued job. Ids begin with the time, so that listings can go by age."""
        job = job_service_pb2.Job(job_id=f"{now_ms():012x}{new_id()}", state=job_service_pb2.JOB_STATE_QUEUED)
        job.created_at.GetCurrentTime()
        folder = job_folder(tenant, job.job_id)
        await self._store.put(f"{folder}/request", request.SerializeToString(), "application/protobuf")
        await self.write(tenant, job)
        return job

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
        """One page, newest first; the token is the last id of the page before."""
        found = await self._store.list(f"{tenant}/jobs/")
        ids = sorted({each.key.split("/")[2] for each in found}, reverse=True)
        left = [each for each in ids if not page_token or each < page_token]
        page = left[: page_size or 100]
        jobs = [await self.get(tenant, each) for each in page]
        token = page[-1] if len(left) > len(page) else ""
        return job_service_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)
