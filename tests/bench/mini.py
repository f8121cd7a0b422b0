"""The mini pack in one process: start, memory, the share of the pipeline, the first text."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import grpc

from anygpt.client import AsyncClient, Options, Piece, image, speech
from anygpt.pack import packs_folder
from anygpt.v1 import stages_pb2, stages_pb2_grpc, types_pb2
from tests.bench.row import Row
from tests.flow.conftest import EMBEDDED
from tests.servers.service import Service

REPEATS = 5
SAMPLES = packs_folder() / "mini" / "samples"


class MiniService(Service):
    """The whole system with the mini pack in one process."""

    def command(self) -> list[str]:
        """`anygpt serve` without a name: all services."""
        return [sys.executable, "-m", "anygpt", "serve", "--host", "127.0.0.1", "--port", str(self.port)]


def _questions() -> dict[str, tuple[list[Piece], tuple[str, ...]]]:
    return {
        "text to text and image": (["Draw a cat on a blue background."], ("text", "image")),
        "speech to text and music": ([speech(SAMPLES / "instruction.wav")], ("text", "audio")),
        "text to video": (["Make a video of a rocket rising."], ("text", "video")),
        "image to text": ([image(SAMPLES / "picture.png"), "What is in this picture?"], ("text",)),
    }


async def measure_mini() -> list[Row]:
    """Start twice, the second time warm, and ask the demo's questions."""
    with MiniService("trainer", EMBEDDED):
        pass
    began = time.perf_counter()
    with MiniService("trainer", EMBEDDED) as service:
        start_s = time.perf_counter() - began
        async with AsyncClient(service.address) as client:
            shares = [
                row for name, asked in _questions().items() for row in await _share(client, name, *asked)
            ]
            first = await _first_text(service.address, client)
        resident = _resident_gb(service)
    help_s = [await _help_s() for _ in range(REPEATS)]
    return [
        Row("mini: ready after a warm start", [start_s], "s", "<= 15 s"),
        Row("mini: resident memory after the questions", [resident], "GB", "< 3 GB"),
        *shares,
        Row("mini: first text at the client / at the LLM alone", first, "x", "<= 1.3x"),
        Row("anygpt --help", help_s, "s", "< 0.5 s"),
    ]


async def _share(client: AsyncClient, name: str, pieces: list[Piece], want: tuple[str, ...]) -> list[Row]:
    shares = []
    for seed in range(REPEATS):
        began = time.perf_counter()
        answer = await client.answer(*pieces, options=Options(want=want, seed=seed))
        whole_ms = (time.perf_counter() - began) * 1000
        usage = answer.usage or types_pb2.Usage()
        work_ms = usage.encode_ms + usage.queue_ms + usage.prefill_ms + usage.decode_ms + usage.media_ms
        shares.append(max(0.0, 100 * (1 - work_ms / whole_ms)))
    return [Row(f"mini: share of the pipeline, {name}", shares, "%", "< 5 %")]


async def _first_text(address: str, client: AsyncClient) -> list[float]:
    ratios = []
    for seed in range(REPEATS):
        text = f"Tell me about the number {seed}."
        alone = await _alone_s(address, text)
        began = time.perf_counter()
        through = 0.0
        async for event in client.events(text, options=Options(want=("text",), seed=seed)):
            if event.HasField("text_delta") and not through:
                through = time.perf_counter() - began
        ratios.append(through / alone)
    return ratios


async def _alone_s(address: str, text: str) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = stages_pb2_grpc.GeneratorServiceStub(channel)
        request = stages_pb2.GenerateTokensRequest(
            prompt=[stages_pb2.PromptSegment(text=f"user\n{text}\nassistant\n")],
            want=[types_pb2.MODALITY_TEXT],
        )
        first = 0.0
        began = time.perf_counter()
        async for response in stub.GenerateTokens(request):
            if response.HasField("text") and not first:
                first = time.perf_counter() - began
    return first


def _resident_gb(service: MiniService) -> float:
    pages = int(Path(f"/proc/{service.pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e9


async def _help_s() -> float:
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "anygpt", "--help", stdout=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    return time.perf_counter() - began
