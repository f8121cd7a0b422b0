"""Redis comes back empty in the middle of everything: turns, keys and jobs are as they were."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from anygpt.client import AsyncClient, Options
from anygpt.errors import Conflict
from anygpt.v1 import job_service_pb2
from tests.flow.conftest import EmbeddedService
from tests.flow.pack import build_pack
from tests.servers import Redis
from tests.servers.service import Backends

pytestmark = pytest.mark.integration


@pytest.fixture
def redis_alone() -> Iterator[Redis]:
    """A server of this test alone, to be emptied."""
    with Redis() as own:
        yield own


@pytest.fixture
def address(redis_alone: Redis, tmp_path: Path) -> Iterator[str]:
    """A system whose memory and queue are that Redis."""
    pack = build_pack(tmp_path / "pack")
    with EmbeddedService(Backends({"ANYGPT_MEMORY": redis_alone.url}), ANYGPT_PACK=str(pack)) as service:
        yield service.address


def lines(count: int) -> bytes:
    """A job of so many requests, a tenth of a second each."""
    return "\n".join(json.dumps({"parts": [{"text": "slow slow"}]}) for _ in range(count)).encode()


async def ended(client: AsyncClient, job_id: str) -> job_service_pb2.Job:
    """A job at its end."""
    async with asyncio.timeout(90):
        return [job async for job in client.watch_job(job_id)][-1]


async def test_turns_keys_and_jobs_outlive_a_redis_that_forgets_everything(
    redis_alone: Redis, address: str
) -> None:
    async with AsyncClient(address) as client:
        spoken = Options(conversation_id=await client.new_conversation())
        keyed = Options(idempotency_key="key", want=["text"])
        await client.answer("hello", options=spoken)
        first = await client.answer("hello", options=keyed)
        running = await client.submit_job(lines(100))
        async for job in client.watch_job(running.job_id):
            if job.finished_lines:
                break
        queued = await client.submit_job(lines(3))
        held = client.events("hang", options=spoken)
        started = await anext(held)

        redis_alone.stop()
        assert (await client.answer("still here")).text
        redis_alone.start()

        assert (await client.answer("hello", options=keyed)).request_id == first.request_id
        with pytest.raises(Conflict) as refused:
            await client.answer("me too", options=spoken)
        assert refused.value.reason == "TURN_UNDER_WAY"
        await client.cancel(started.request_id)
        assert [event async for event in held][-1].HasField("cancelled")
        await client.answer("now me", options=spoken)
        assert len((await client.conversation(spoken.conversation_id)).turns) == 2
        for submitted in (running, queued):
            job = await ended(client, submitted.job_id)
            assert job.state == job_service_pb2.JOB_STATE_SUCCEEDED
            assert job.finished_lines == job.lines
