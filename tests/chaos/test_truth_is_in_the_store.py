"""The memory and the queue may be lost, workers may die: conversations, jobs and idempotency live in the store."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from anygpt import topology
from anygpt.client import AsyncClient, Options
from anygpt.v1 import job_service_pb2
from tests.chaos.cluster import Cluster, Shape
from tests.flow.pack import build_pack

SERVICES = (topology.GATEWAY, "llm", topology.BATCH)
LINES = 24

pytestmark = [pytest.mark.slow, pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two gateways, two generators, two batch workers."""
    pack = build_pack(tmp_path_factory.mktemp("packs") / "plain")
    with Cluster(Shape(str(pack), SERVICES)) as made:
        yield made


async def test_a_conversation_outlives_the_memory(cluster: Cluster) -> None:
    async with cluster.client() as client:
        options = Options(want=["text"], conversation_id=await client.new_conversation())
        await client.answer("recall one", options=options)
        under_way = asyncio.create_task(client.answer("recall two three four five", options=options))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(cluster.redis.restart_empty)
        await under_way
        await client.answer("recall six", options=options)
        record = await client.conversation(options.conversation_id)
    assert [turn.parts[0].text.split()[-1] for turn in record.turns] == ["one", "five", "six"]


async def test_an_idempotency_key_outlives_the_memory(cluster: Cluster) -> None:
    async with cluster.client() as client:
        options = Options(want=["text"], idempotency_key=f"key-{id(client)}")
        first = await client.answer("hello", options=options)
        await asyncio.to_thread(cluster.redis.restart_empty)
        assert (await client.answer("hello", options=options)).request_id == first.request_id


async def test_a_job_outlives_its_worker(cluster: Cluster) -> None:
    async with cluster.client() as client:
        job = await client.submit_job(_lines())
        await _has_begun(client, job.job_id)
        for worker in cluster.replicas[topology.BATCH]:
            await asyncio.to_thread(worker.kill)
            await asyncio.to_thread(worker.start)
        await _ends_whole(client, job.job_id)


async def test_a_job_outlives_the_queue(cluster: Cluster) -> None:
    async with cluster.client() as client:
        first, second, third = [await client.submit_job(_lines()) for _ in range(3)]
        await _has_begun(client, first.job_id)
        await asyncio.to_thread(cluster.redis.restart_empty)
        for job in (first, second, third):
            await _ends_whole(client, job.job_id)


def _lines() -> bytes:
    requests = [{"parts": [{"text": f"number {i} of a job"}], "id": str(i)} for i in range(LINES)]
    return "\n".join(json.dumps(request) for request in requests).encode()


async def _has_begun(client: AsyncClient, job_id: str) -> None:
    async for job in client.watch_job(job_id):
        if job.finished_lines:
            return


async def _ends_whole(client: AsyncClient, job_id: str) -> None:
    """The job ends within its patience, with each line once, in order."""
    async with asyncio.timeout(90):
        *_, job = [state async for state in client.watch_job(job_id)]
    results = [json.loads(line) for line in (await client.download(job.results.object)).splitlines()]
    assert job.state == job_service_pb2.JOB_STATE_SUCCEEDED, results
    assert [result["id"] for result in results] == [str(i) for i in range(LINES)]
