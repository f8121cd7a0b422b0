"""Batch jobs: a JSONL file in, a JSONL file out, a line for each line whatever becomes of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from anygpt.client import AsyncClient
from anygpt.errors import Conflict, NotFound
from anygpt.v1 import job_service_pb2


async def run(client: AsyncClient, lines: list[str]) -> tuple[job_service_pb2.Job, list[dict[str, Any]]]:
    """Submit, follow to the end, fetch the results."""
    job = await client.submit_job("\n".join(lines).encode())
    async with asyncio.timeout(60):
        async for state in client.watch_job(job.job_id):
            job = state
    results = (await client.download(job.results.object)).splitlines()
    return job, [json.loads(line) for line in results]


def line(text: str, **more: Any) -> str:
    """One request."""
    return json.dumps({"parts": [{"text": text}], **more})


UNREADABLE = [
    '{"parts": [{"text": "hello"}], "want": [1e999]}',
    '{"parts": [{"text": "hello"}], "id": NaN}',
    '{"parts": [{"text": "hello"}], "output": [{"loudnessLufs": 1%s}]}' % ("0" * 400),
    '{"parts": [{"text": "\\ud83d"}]}',
    "[" * 100_000,
]
"""Numbers and texts that JSON can write and a request cannot hold."""


async def test_every_line_gets_its_result_in_order(client: AsyncClient) -> None:
    job, results = await run(client, [line(f"number {i} image", id=f"n{i}") for i in range(20)])
    assert job.state == job_service_pb2.JOB_STATE_SUCCEEDED
    assert (job.lines, job.finished_lines, job.failed_lines) == (20, 20, 0)
    assert [result["id"] for result in results] == [f"n{i}" for i in range(20)]
    for i, result in enumerate(results):
        assert result["answer"][0]["text"].startswith(f"number {i}")
        assert (await client.download(result["answer"][1]["media"]["object"])).startswith(b"image")


async def test_a_bad_line_fails_alone(client: AsyncClient) -> None:
    job, results = await run(
        client, [line("hello"), "{not json", line("crash"), '{"parts": 3}', '{"parts": []}', *UNREADABLE]
    )
    assert job.state == job_service_pb2.JOB_STATE_PARTIAL
    assert [result["state"] for result in results] == ["finished", *["failed"] * (4 + len(UNREADABLE))]
    reasons = [result["failure"]["reason"] for result in results[1:]]
    malformed = ["LINE_MALFORMED"] * len(UNREADABLE)
    assert reasons == ["LINE_MALFORMED", "INTERNAL", "LINE_MALFORMED", "EMPTY_REQUEST", *malformed]


async def test_a_job_can_be_cancelled(client: AsyncClient) -> None:
    job = await client.submit_job("\n".join(line("hang") for _ in range(30)).encode())
    async with asyncio.timeout(60):
        async for state in client.watch_job(job.job_id):
            if state.state == job_service_pb2.JOB_STATE_RUNNING:
                await client.cancel_job(job.job_id)
            job = state
    assert job.state == job_service_pb2.JOB_STATE_CANCELLED


async def test_the_same_key_gives_the_same_job(client: AsyncClient) -> None:
    key = f"job-{id(client)}"
    first = await client.submit_job(line("hello").encode(), key)
    assert (await client.submit_job(line("hello").encode(), key)).job_id == first.job_id
    with pytest.raises(Conflict):
        await client.submit_job(line("other").encode(), key)


async def test_another_tenants_job_is_not_found(client: AsyncClient, address: str) -> None:
    job = await client.submit_job(line("hello").encode())
    async with AsyncClient(address, "stranger") as stranger:
        with pytest.raises(NotFound):
            async for _ in stranger.watch_job(job.job_id):
                pass
