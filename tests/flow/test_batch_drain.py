"""A batch worker that is told to stop leaves its job, and what the job has under way, to another one."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.client import AsyncClient
from anygpt.v1 import job_service_pb2
from tests.flow.conftest import EmbeddedService, PlainService
from tests.servers import Backends, Redis

pytestmark = pytest.mark.integration

LINES = 24
TEXT = " ".join(["slow"] * 20)
"""A word takes 50 ms."""


@dataclass(frozen=True)
class System:
    """A gateway with its stages, a batch worker beside it, and one that has not been started yet, on one Redis."""

    address: str
    first: PlainService
    second: PlainService


@pytest.fixture
def system(plain_pack: Path, tmp_path: Path) -> Iterator[System]:
    with ExitStack() as stack:
        redis = stack.enter_context(Redis())
        shared = Backends({"ANYGPT_DATA": str(tmp_path / "data"), "ANYGPT_MEMORY": redis.url})
        more = {"ANYGPT_PACK": str(plain_pack), "ANYGPT_DRAIN_S": "5"}
        front = stack.enter_context(EmbeddedService(shared, topology.GATEWAY, *topology.STAGES, **more))
        more |= {"ANYGPT_GATEWAY": front.address, "ANYGPT_JOB_LINES": "4"}
        first, second = (PlainService(topology.BATCH, shared, **more) for _ in range(2))
        stack.callback(second.close)
        yield System(front.address, stack.enter_context(first), second)


async def test_a_worker_that_stops_in_a_job_leaves_it_whole_to_the_next(system: System) -> None:
    async with AsyncClient(system.address) as client, asyncio.timeout(90):
        submitted = await client.submit_job("\n".join(line(number) for number in range(LINES)).encode())
        await anext(job async for job in client.watch_job(submitted.job_id) if job.finished_lines)
        await asyncio.to_thread(system.second.start)
        await asyncio.to_thread(system.first.stop)
        assert system.first.exit_status == 0
        job = [job async for job in client.watch_job(submitted.job_id)][-1]
        results = [json.loads(line) for line in (await client.download(job.results.object)).splitlines()]
    assert job.state == job_service_pb2.JOB_STATE_SUCCEEDED, results
    assert [result["id"] for result in results] == [str(number) for number in range(LINES)]


def test_an_idle_worker_whose_queue_is_away_stops_before_its_drain_time(
    plain_pack: Path, tmp_path: Path
) -> None:
    with Redis() as redis:
        backends = Backends({"ANYGPT_DATA": str(tmp_path / "data"), "ANYGPT_MEMORY": redis.url})
        more = {"ANYGPT_PACK": str(plain_pack), "ANYGPT_GATEWAY": "127.0.0.1:9", "ANYGPT_DRAIN_S": "15"}
        with PlainService(topology.BATCH, backends, **more) as worker:
            redis.stop()
            time.sleep(4)
            began = time.monotonic()
            worker.stop()
            assert time.monotonic() - began < 12
            assert worker.exit_status == 0


def line(number: int) -> str:
    """One request, which takes a second."""
    return json.dumps({"parts": [{"text": f"{number} {TEXT}"}], "id": str(number)})
