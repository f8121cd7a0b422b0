"""What one kind of load does to another: refusals under a flood, people beside batch jobs."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from anygpt.answer import Event
from anygpt.client import AsyncClient, Options
from anygpt.errors import Exhausted
from anygpt.v1 import job_service_pb2
from tests.bench.row import Row
from tests.flow.conftest import EMBEDDED, EmbeddedService
from tests.flow.pack import build_pack

ROOM = "16"
REFUSALS = 400
ASKED = 30
LINES = 2000


async def measure_shares() -> list[Row]:
    """On stages that do no work, in one process; the client in another."""
    with tempfile.TemporaryDirectory() as folder:
        pack = str(build_pack(Path(folder) / "pack"))
        with EmbeddedService(EMBEDDED, ANYGPT_PACK=pack, ANYGPT_RUNNING_REQUESTS=ROOM) as service:
            refused = await _refusals(service.address)
        with EmbeddedService(EMBEDDED, ANYGPT_PACK=pack) as service:
            slowed = await measure_beside_batch(service.address, "slow slow slow slow")
    return [
        Row("a refusal under a flood, at the client, p95", [refused], goal="<= 50 ms"),
        Row("no-work stages: a person's answer beside a batch job / alone", slowed, "x", "<= 1.2x"),
    ]


async def measure_beside_batch(address: str, text: str) -> list[float]:
    """Times of a person's answers while a batch job of the same runs, over the median without it."""
    async with AsyncClient(address) as client:
        await _times(client, text)
        alone = sorted(await _times(client, text))[ASKED // 2]
        lines = "\n".join(
            json.dumps({"parts": [{"text": text}], "want": ["MODALITY_TEXT"]}) for _ in range(LINES)
        )
        job = await client.submit_job(lines.encode())
        async for state in client.watch_job(job.job_id):
            if state.finished_lines:
                break
        beside = await _times(client, text)
        still = await anext(aiter(client.watch_job(job.job_id)))
        assert still.state == job_service_pb2.JOB_STATE_RUNNING
        await client.cancel_job(job.job_id)
    return [each / alone for each in beside]


async def _times(client: AsyncClient, text: str) -> list[float]:
    times = []
    for number in range(ASKED):
        began = time.perf_counter()
        await client.answer(text, options=Options(want=["text"], seed=number))
        times.append(time.perf_counter() - began)
    return times


async def _refusals(address: str) -> float:
    """The 95th percentile, in milliseconds, of refusals while the tenant's room is full."""
    times: list[float] = []
    async with AsyncClient(address, "flood") as client:
        # One after another: what is refused here leaves no place that a short answer could take.
        holding = [await _hung(client) for _ in range(int(ROOM))]
        while len(times) < REFUSALS:
            began = time.perf_counter()
            with contextlib.suppress(Exhausted):
                await client.answer("hello", options=Options(want=["text"]))
                raise AssertionError("the tenant's room is full")
            times.append((time.perf_counter() - began) * 1000)
        for stream in holding:
            await stream.aclose()  # type: ignore[attr-defined]
    return sorted(times)[len(times) * 95 // 100]


async def _hung(client: AsyncClient) -> AsyncIterator[Event]:
    """A request that stays where it is, begun or refused."""
    stream = client.events("hang", options=Options(timeout_s=120))
    with contextlib.suppress(Exhausted):
        await anext(stream)
    return stream
