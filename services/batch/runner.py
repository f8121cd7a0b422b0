"""Runs one job: each line of its JSONL through the gateway in the batch class, each result written as it comes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from anygpt import topology
from anygpt.answer import TERMINALS, Answer
from anygpt.client import AsyncClient
from anygpt.dispatch import HELD_S, Dispatch
from anygpt.errors import AnyGPTError, Exhausted, InvalidInput, NotFound, TooLarge, Unavailable
from anygpt.identity import new_id, object_key
from anygpt.jobs import ENDED, JobBook, job_folder
from anygpt.keeping import hold_media, keep_media
from anygpt.store import Store
from anygpt.v1 import anygpt_service_pb2, job_service_pb2, types_pb2

log = logging.getLogger(__name__)
LINES_TYPE = "application/jsonl"
WATCH_S = 0.5
RETRY_S = 1.0
LONGEST_RETRY_S = 10.0
GROWTH = 1.1
"""By what the pauses before a door that stays shut become longer."""
GRACE_S = 600
"""A line outlives a killed runner, so that the next one finds its answer by the key."""


class JobRunner:
    """Runs jobs; what a killed runner had finished is not done again."""

    def __init__(
        self,
        store: Store,
        dispatch: Dispatch,
        connect: Callable[[str], AsyncClient],
        at_once: int,
        limit_bytes: int,
    ) -> None:
        self._store = store
        self._book = JobBook(store)
        self._dispatch = dispatch
        self._connect = connect
        self._at_once = at_once
        self._limit_bytes = limit_bytes

    async def run(self, tenant: str, job_id: str) -> None:
        """Take a job to its end, unless another worker has it."""
        worker = new_id()
        if not await self._dispatch.take(tenant, job_id, worker):
            return
        holding = asyncio.create_task(self._hold(tenant, job_id, worker))
        try:
            await self._run(tenant, await self._book.get(tenant, job_id))
        except NotFound:
            log.info("job %s was erased", job_id)
            await self._book.close(tenant, job_id)
        finally:
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
            await self._dispatch.drop(tenant, job_id, worker)

    async def _run(self, tenant: str, job: job_service_pb2.Job) -> None:
        if job.state in ENDED:
            return await self._book.close(tenant, job.job_id)
        job.state = job_service_pb2.JOB_STATE_RUNNING
        request = await self._book.request(tenant, job.job_id)
        key = object_key(tenant, request.requests.object)
        try:
            lines = [x for x in (await self._store.get(key, self._limit_bytes)).splitlines() if x.strip()]
        except (NotFound, TooLarge) as error:
            job.failure.CopyFrom(error.to_failure(topology.BATCH))
            return await self._book.end(tenant, job, job_service_pb2.JOB_STATE_FAILED)
        job.lines = len(lines)
        await self._book.write(tenant, job)
        is_cancelled = await self._run_lines(tenant, job, lines)
        await self._collect(tenant, job)
        await self._book.end(tenant, job, _state(job, is_cancelled))
        log.info("job %s ended: %s", job.job_id, job_service_pb2.JobState.Name(job.state))
        return None

    async def _hold(self, tenant: str, job_id: str, worker: str) -> None:
        while True:
            await asyncio.sleep(HELD_S / 3)
            await self._dispatch.hold(tenant, job_id, worker)

    async def _run_lines(self, tenant: str, job: job_service_pb2.Job, lines: list[bytes]) -> bool:
        done = await self._states(tenant, job)
        job.finished_lines = list(done.values()).count("finished")
        job.failed_lines = len(done) - job.finished_lines
        turns = asyncio.Semaphore(self._at_once)
        async with self._connect(tenant) as client:

            async def work(number: int) -> None:
                async with turns:
                    await self._run_line(client, tenant, job, number, lines[number])

            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work(n)) for n in range(len(lines)) if n not in done]
                watch = group.create_task(self._watch(tenant, job, tasks))
                if tasks:
                    await asyncio.wait(tasks)
                watch.cancel()
        return await self._book.is_cancelled(tenant, job.job_id)

    async def _watch(self, tenant: str, job: job_service_pb2.Job, tasks: list[asyncio.Task[None]]) -> None:
        """Write down how far the job is, until it ends or somebody asks to cancel it."""
        while True:
            await asyncio.sleep(WATCH_S)
            await self._book.write(tenant, job)
            if await self._book.is_cancelled(tenant, job.job_id):
                break
        for task in tasks:
            task.cancel()

    async def _run_line(
        self, client: AsyncClient, tenant: str, job: job_service_pb2.Job, number: int, line: bytes
    ) -> None:
        result: dict[str, Any] = {"line": number}
        try:
            request = parse_line(line, result)
            request.priority = types_pb2.PRIORITY_BATCH
            request.idempotency_key = f"{job.job_id}-{number}"
            request.grace.FromSeconds(GRACE_S)
            answer = await self._patiently(client, tenant, job.job_id, request)
        except AnyGPTError as error:
            failure = error.to_failure(topology.BATCH)
            result |= {"state": "failed", "failure": json_format.MessageToDict(failure)}
        else:
            # A store that fails now ends the run, not the line: whoever takes the job up finds the answer by its key.
            made = [span.media for span in answer.spans.values() if span.media is not None]
            await hold_media(self._store, tenant, made, job.job_id)
            result |= _rendered(answer)
        key = f"{_lines_folder(tenant, job)}{number:09d}"
        await self._store.put(key, json.dumps(result).encode(), "application/json")
        if result["state"] == "finished":
            job.finished_lines += 1
        else:
            job.failed_lines += 1

    async def _patiently(
        self, client: AsyncClient, tenant: str, job_id: str, request: anygpt_service_pb2.GenerateRequest
    ) -> Answer:
        """The answer of a line. A door that is full or shut is tried again, for as long as nobody cancels the job."""
        pause_s = RETRY_S
        while True:
            answer, has_ended = Answer(), False
            try:
                async for event in client.stream(request):
                    has_ended = event.WhichOneof("kind") in TERMINALS
                    answer.add(event)
            except (Exhausted, Unavailable) as error:
                if has_ended:
                    raise
                await asyncio.sleep(max(error.retry_after_ms / 1000, pause_s))
                pause_s = min(LONGEST_RETRY_S, GROWTH * pause_s)
                continue
            except asyncio.CancelledError:
                # A worker that leaves its job to another one leaves its requests running.
                if answer.request_id and await self._book.is_cancelled(tenant, job_id):
                    await client.cancel(answer.request_id)
                raise
            return answer

    async def _states(self, tenant: str, job: job_service_pb2.Job) -> dict[int, str]:
        """What earlier runners of this job left: line number to state."""
        found = await self._store.list(_lines_folder(tenant, job))
        results = [json.loads(await self._store.get(each.key, self._limit_bytes)) for each in found]
        return {result["line"]: result["state"] for result in results}

    async def _collect(self, tenant: str, job: job_service_pb2.Job) -> None:
        found = await self._store.list(_lines_folder(tenant, job))
        results = b"".join([await self._store.get(each.key, self._limit_bytes) + b"\n" for each in found])
        reference = types_pb2.MediaRef(
            object=f"media/{job.job_id}/results",
            sha256=hashlib.sha256(results).hexdigest(),
            media_type=LINES_TYPE,
            size_bytes=len(results),
        )
        await hold_media(self._store, tenant, [reference], job.job_id)
        await keep_media(self._store, tenant, reference, results)
        job.results.CopyFrom(reference)


def _lines_folder(tenant: str, job: job_service_pb2.Job) -> str:
    return f"{job_folder(tenant, job.job_id)}/lines/"


def _state(job: job_service_pb2.Job, is_cancelled: bool) -> job_service_pb2.JobState.ValueType:
    if is_cancelled:
        return job_service_pb2.JOB_STATE_CANCELLED
    if not job.failed_lines:
        return job_service_pb2.JOB_STATE_SUCCEEDED
    return job_service_pb2.JOB_STATE_PARTIAL if job.finished_lines else job_service_pb2.JOB_STATE_FAILED


def parse_line(line: bytes, result: dict[str, Any]) -> anygpt_service_pb2.GenerateRequest:
    """The request of one line of a job; its id goes into `result`. Raises InvalidInput with LINE_MALFORMED."""
    try:
        fields = json.loads(line)
        # Half a surrogate pair is no text and 1e999 no number: protobuf's parser breaks on both, encoding refuses them.
        json.dumps(fields, ensure_ascii=False, allow_nan=False).encode()
        if not isinstance(fields, dict):
            raise InvalidInput("a line is a JSON object", reason="LINE_MALFORMED", field="line")
        if "id" in fields:
            result["id"] = fields.pop("id")
        return json_format.ParseDict(fields, anygpt_service_pb2.GenerateRequest())
    except (ValueError, OverflowError, RecursionError, json_format.ParseError) as error:
        raise InvalidInput("the line is no request in JSON", reason="LINE_MALFORMED", field="line") from error


def _rendered(answer: Answer) -> dict[str, Any]:
    spans: list[dict[str, Any]] = []
    for _, span in sorted(answer.spans.items()):
        rendered: dict[str, Any] = {"modality": span.modality}
        if span.media is not None:
            rendered["media"] = json_format.MessageToDict(span.media)
        elif span.failure is not None:
            rendered["failure"] = json_format.MessageToDict(span.failure)
        else:
            rendered["text"] = span.text
        spans.append(rendered)
    usage = json_format.MessageToDict(answer.usage) if answer.usage else {}
    return {"state": "finished", "request_id": answer.request_id, "answer": spans, "usage": usage}
