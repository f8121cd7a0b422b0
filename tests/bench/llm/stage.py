"""The whole stage: mixed lengths, first tokens beside running streams, second turns, and the gRPC door."""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import grpc

from anygpt.stage import now_ms
from anygpt.v1 import stages_pb2, stages_pb2_grpc
from services.llm.settings import LlmSettings
from services.llm.stage import LlmStage
from tests.bench.llm.contender import prompt
from tests.bench.row import Row
from tests.servers.service import Backends, Service
from tests.unit.llm.asking import call, opened_pack, request, stream

STREAMS = 16
REQUESTS = 32
HISTORY = 1000
LONG = {"text": {"max_tokens": 64, "temperature": 1.0, "top_p": 1.0}}

SEEDS: Iterator[int] = itertools.count(100_000)
"""Of prompts that the cache does not have."""

START = """
import asyncio
from services.llm.settings import LlmSettings
from tests.unit.llm.asking import opened_pack

async def start():
    async with opened_pack("mini", cache=LlmSettings().cache):
        pass

asyncio.run(start())
"""

Ask = Callable[[stages_pb2.GenerateTokensRequest], Coroutine[Any, Any, tuple[int, float]]]
"""Tokens of an answer, and seconds until its first one."""


def measure(repeats: int) -> list[Row]:
    """All rows of the stage."""
    return asyncio.run(_measure(repeats))


async def _measure(repeats: int) -> list[Row]:
    async with opened_pack("mini", **LlmSettings().model_dump(include={"cache"})) as stage:
        ask = _in_process(stage)
        rows = [
            *await _mixed(ask, repeats),
            *await _first_tokens(ask, repeats),
            await _second_turn(ask, repeats),
        ]
        rows += await _doors(ask, repeats)
    return [
        Row("start of mini in a fresh process, weights converted", _starts(repeats), "s", "<= 5 s"),
        *rows,
    ]


def _starts(repeats: int) -> list[float]:
    """Seconds from the start of a process to a generator that is ready, Python's imports included."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", START], check=True)
        seconds.append(time.perf_counter() - began)
    return seconds


def _in_process(stage: LlmStage) -> Ask:
    async def ask(one: stages_pb2.GenerateTokensRequest) -> tuple[int, float]:
        return await _read(stream(stage, one, call(deadline_ms=now_ms() + 600_000)))

    return ask


def _over_grpc(channel: grpc.aio.Channel) -> Ask:
    stub: Any = stages_pb2_grpc.GeneratorServiceStub(channel)

    async def ask(one: stages_pb2.GenerateTokensRequest) -> tuple[int, float]:
        return await _read(stub.GenerateTokens(one))

    return ask


async def _read(responses: Any) -> tuple[int, float]:
    began, first, tokens = time.perf_counter(), 0.0, 0
    async for response in responses:
        if response.HasField("text"):
            first = first or time.perf_counter() - began
        if response.HasField("finished"):
            tokens = response.finished.usage.generated_tokens
    return tokens, first


def _request(seed: int, length: int, most: int) -> stages_pb2.GenerateTokensRequest:
    ids = stages_pb2.TokenIds(ids=prompt(seed, length))
    sampling = {"text": {**LONG["text"], "max_tokens": most}}
    return request(prompt=[stages_pb2.PromptSegment(tokens=ids)], want=["text"], seed=seed, sampling=sampling)


async def _together(ask: Ask, repeat: int) -> float:
    """Tokens a second of streams that begin at once."""
    began = time.perf_counter()
    answers = await asyncio.gather(*(ask(_request(100 * repeat + n, 64, 64)) for n in range(STREAMS)))
    return sum(tokens for tokens, _ in answers) / (time.perf_counter() - began)


async def _doors(ask: Ask, repeats: int) -> list[Row]:
    """The same streams in this process and over gRPC, by turns, so that both have the same machine."""
    alone, over = [], []
    with Service("llm", Backends({})) as service:
        async with grpc.aio.insecure_channel(service.address) as channel:
            for repeat in range(repeats):
                alone.append(await _together(ask, repeat))
                over.append(await _together(_over_grpc(channel), repeat))
    shares = [100 * far / near for far, near in zip(over, alone, strict=True)]
    return [
        Row(f"stage, {STREAMS} streams, in process", alone, "tok/s"),
        Row(f"stage, {STREAMS} streams, over gRPC", over, "tok/s"),
        Row("stage over gRPC / in process", shares, "%", ">= 90 %"),
    ]


async def _mixed(ask: Ask, repeats: int) -> list[Row]:
    """Requests of geometric lengths: joining at each step, against batches that wait for their longest."""
    figures: dict[str, list[float]] = {name: [] for name in ("padded", "padded p95", "ragged", "ragged p95")}
    for repeat in range(repeats):
        source = random.Random(repeat)
        lengths = [min(256, 1 + int(source.expovariate(1 / 48))) for _ in range(REQUESTS)]
        joining = await _timed(ask, [_batch(lengths)])
        halves = [lengths[:STREAMS], lengths[STREAMS:]]
        ragged = await _timed(ask, [_batch(half) for half in halves])
        # As `generate` does it: who is done still takes part in each step, and nobody is answered before the longest.
        padded = await _timed(ask, [_batch([max(half)] * STREAMS) for half in halves])
        for name, static in (("padded", padded), ("ragged", ragged)):
            figures[name].append(static[0] / joining[0])
            figures[f"{name} p95"].append(static[1] / joining[1])
    return [
        Row("mixed lengths, total: static batches / joining", figures["padded"], "x", ">= 2x"),
        Row("mixed lengths, p95: static batches / joining", figures["padded p95"], "x", "> 1x"),
        Row("mixed lengths, total: static, rows dropped when done / joining", figures["ragged"], "x"),
        Row("mixed lengths, p95: static, rows dropped when done / joining", figures["ragged p95"], "x"),
    ]


def _batch(lengths: Sequence[int]) -> list[stages_pb2.GenerateTokensRequest]:
    return [_request(next(SEEDS), 64, most) for most in lengths]


async def _timed(ask: Ask, batches: list[list[stages_pb2.GenerateTokensRequest]]) -> tuple[float, float]:
    """Seconds for all, and the 95th percentile of one answer's, from the beginning of all."""
    began = time.perf_counter()
    ends: list[float] = []

    async def timed(one: stages_pb2.GenerateTokensRequest) -> None:
        await ask(one)
        ends.append(time.perf_counter() - began)

    for batch in batches:
        await asyncio.gather(*map(timed, batch))
    return ends[-1], statistics.quantiles(ends, n=20)[-1]


async def _first_tokens(ask: Ask, repeats: int) -> list[Row]:
    ratios = []
    for repeat in range(repeats):
        _, alone = await ask(_request(5000 + repeat, 128, 1))
        running = [
            asyncio.create_task(ask(_request(6000 + 100 * repeat + n, 64, 200))) for n in range(STREAMS - 1)
        ]
        await asyncio.sleep(1)
        _, beside = await ask(_request(7000 + repeat, 128, 1))
        await asyncio.gather(*running)
        ratios.append(beside / alone)
    return [Row(f"first token beside {STREAMS - 1} streams / alone", ratios, "x", "<= 3x")]


async def _second_turn(ask: Ask, repeats: int) -> Row:
    ratios = []
    for repeat in range(repeats):
        ids = prompt(9000 + repeat, HISTORY + 16)
        first, second = (
            request(
                prompt=[stages_pb2.PromptSegment(tokens=stages_pb2.TokenIds(ids=ids[:length]))],
                want=["text"],
                sampling={"text": {"max_tokens": 1}},
            )
            for length in (HISTORY, HISTORY + 16)
        )
        (_, cold), (_, warm) = await ask(first), await ask(second)
        ratios.append(warm / cold)
    return Row(
        f"second turn, {HISTORY} tokens of history, first token / first turn's", ratios, "x", "<= 0.2x"
    )
