"""What the pipeline adds to the model work: whole requests through stages that do none."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from anygpt import topology
from anygpt.client import AsyncClient, Options, Piece, image
from tests.bench.row import Row
from tests.flow.conftest import EMBEDDED, EmbeddedService, PlainService
from tests.flow.media import picture
from tests.flow.pack import build_pack
from tests.servers import Kafka, Minio, Redis
from tests.servers.service import Backends

STREAMS = 64
WARM_UP = 10


async def measure_embedded(requests: int) -> list[Row]:
    """Everything in one process, the client in another."""
    with tempfile.TemporaryDirectory() as folder:
        pack = build_pack(Path(folder) / "pack")
        with EmbeddedService(EMBEDDED, ANYGPT_PACK=str(pack)) as service:
            return await _measure(service.address, "in process", requests, "<= 3 ms")


async def measure_kafka(requests: int) -> list[Row]:
    """Every service a process, on real servers."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        pack = build_pack(Path(folder) / "pack")
        servers = (stack.enter_context(Kafka()), stack.enter_context(Minio()), stack.enter_context(Redis()))
        backends = Backends.of(*servers)
        backends.initialise()
        for name in topology.STAGES:
            stack.enter_context(PlainService(name, backends, ANYGPT_PACK=str(pack)))
        gateway = stack.enter_context(PlainService("gateway", backends, ANYGPT_PACK=str(pack)))
        return await _measure(gateway.address, "on Kafka", requests, "<= 40 ms")


async def _measure(address: str, where: str, requests: int, goal: str) -> list[Row]:
    async with AsyncClient(address) as client:
        text = await _times(client, lambda _: ["hello"], ("text",), requests)
        full = await _times(client, lambda i: [image(picture(64 + i)), "hello"], ("image",), requests)
        began = time.perf_counter()
        runs = await asyncio.gather(*(client.answer("hello speech") for _ in range(STREAMS)))
        together = (time.perf_counter() - began) * 1000
    assert len(runs) == STREAMS
    return [
        Row(f"added {where}, text to text (LLM hop)", text),
        Row(f"added {where}, image to image (encoder + LLM + decoder hops)", full, goal=goal),
        Row(f"{STREAMS} streams at once {where}, all ended once", [together], goal="none lost"),
    ]


async def _times(
    client: AsyncClient, pieces: Callable[[int], list[Piece]], want: tuple[str, ...], requests: int
) -> list[float]:
    """Milliseconds of requests one after another; every one is another message, so that no cache answers."""
    times = []
    for number in range(requests + WARM_UP):
        said = pieces(number)
        began = time.perf_counter()
        await client.answer(*said, options=Options(want=want, seed=1))
        times.append((time.perf_counter() - began) * 1000)
    return times[WARM_UP:]
