"""The model runner beside llama.cpp and transformers: every engine in a process of its own, in turn within a repeat.

Our idle threads sleep, as under `anygpt serve`; the others may spin.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import torch

from anygpt.pack import open_pack
from services.llm.model.loading import base_source
from tests.bench.llm.apart import Apart
from tests.bench.llm.contender import CONTEXT, PREFILL, WRITTEN, Contender
from tests.bench.llm.machine import bf16_speed, read_bandwidth
from tests.bench.llm.ours import Ours
from tests.bench.row import Row

STREAMS = 16
ONE, MANY, READ = "decode 1", f"decode {STREAMS}", f"prefill {PREFILL}"
CONTINUOUS = f"{MANY} continuously"
GOALS = {
    (ONE, "llama.cpp Q4"): ">= 1.0x",
    (MANY, "llama.cpp"): ">= 2.5x",
    (MANY, "transformers"): ">= 2.5x",
    (CONTINUOUS, "transformers"): ">= 2.5x",
    (READ, "llama.cpp"): ">= 4x",
    (READ, "transformers"): ">= 1.5x",
}
OURS = "ours int8"
FLOATS = (torch.float32, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Machine:
    """What was measured of it in the same run."""

    bandwidth: Row
    bf16: Row


@dataclass(frozen=True, slots=True)
class Task:
    """What is timed."""

    what: str
    tokens: int
    run: Callable[[], float]


Figures = dict[tuple[str, str], list[float]]
"""Tokens a second of each repeat, by task and engine."""


def measure(repeats: int, threads: int, minutes: float) -> list[Row]:
    """All rows: figures, ratios with their goals, and how close to the machine's limits they come."""
    bandwidth, bf16 = [], []
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        contenders = _contenders(Path(folder), threads)
        for repeat in _rounds(repeats, minutes):
            bandwidth.append(read_bandwidth())
            bf16.append(bf16_speed())
            for one in contenders:
                _note(figures, one, repeat, _tasks(one))
    machine = Machine(Row("memory read", bandwidth[1:], "GB/s"), Row("bf16 product", bf16[1:], "GFLOP/s"))
    return [machine.bandwidth, machine.bf16, *_rows(figures), *_limits(figures, contenders, machine)]


def measure_continuous(repeats: int, threads: int, minutes: float) -> list[Row]:
    """Our own engine beside the continuous batching of transformers."""
    from tests.bench.llm.transformers_engine import Transformers

    figures: Figures = {}
    source = base_source(open_pack("mini"))
    ours = Apart(partial(Ours, "int8", threads), "passive")
    others = [Apart(partial(Transformers, source, dtype, threads)) for dtype in FLOATS]
    for repeat in _rounds(repeats, minutes):
        _note(figures, ours, repeat, [Task(CONTINUOUS, STREAMS * WRITTEN, lambda: ours.decode(STREAMS))])
        for one in others:
            run = partial(one.decode_continuously, STREAMS)
            _note(figures, one, repeat, [Task(CONTINUOUS, STREAMS * WRITTEN, run)])
    return _rows(figures)


def _rounds(repeats: int, minutes: float) -> Iterator[int]:
    """Round 0 warms up; at least one more follows."""
    began = time.monotonic()
    for repeat in range(repeats + 1):
        if repeat < 2 or time.monotonic() - began < 60 * minutes:
            yield repeat


def _contenders(folder: Path, threads: int) -> list[Contender]:
    from tests.bench.llm.transformers_engine import Transformers

    source = base_source(open_pack("mini"))
    found: list[Contender] = [Apart(partial(Ours, "int8", threads), "passive")]
    if find_spec("llama_cpp"):
        from tests.bench.llm.llama_cpp_engine import LlamaCpp, can_repack, converted

        repacks = can_repack(source)
        for name in ("Q4_0", "Q4_1", "Q8_0", "F16"):
            file = source if name == "Q4_1" else converted(source, folder, name)
            found.append(Apart(partial(LlamaCpp, name, file, STREAMS, threads, repacks=repacks)))
    return [*found, *(Apart(partial(Transformers, source, dtype, threads)) for dtype in FLOATS)]


def _tasks(one: Contender) -> list[Task]:
    read = Task(READ, PREFILL, one.prefill)
    if one.name.startswith("llama.cpp F16"):
        return [read]
    return [
        Task(ONE, WRITTEN, lambda: one.decode(1)),
        Task(MANY, STREAMS * WRITTEN, lambda: one.decode(STREAMS)),
        read,
    ]


def _note(figures: Figures, one: Contender, repeat: int, tasks: list[Task]) -> None:
    for task in tasks:
        speed = task.tokens / task.run()
        print(f"{repeat} {task.what}, {one.name}: {speed:.1f} tok/s", file=sys.stderr, flush=True)
        if repeat:
            figures.setdefault((task.what, one.name), []).append(speed)


def _rows(figures: Figures) -> list[Row]:
    rows = [Row(f"{what}, {name}", values, "tok/s") for (what, name), values in sorted(figures.items())]
    for (what, rival), goal in GOALS.items():
        found = {key: figures[key] for key in figures if key[0] == what and key[1].startswith(rival)}
        if found:
            best = max(found, key=lambda key: statistics.median(found[key]))
            ratios = [mine / other for mine, other in zip(figures[what, OURS], found[best], strict=True)]
            rows.append(Row(f"{what}, ours / {best[1]}", ratios, "x", goal))
    return rows


def _limits(figures: Figures, contenders: list[Contender], machine: Machine) -> list[Row]:
    """A decode step reads at least its weights and the keys and values of each stream; a prompt costs products."""
    rows = []
    for one in contenders:
        for what, streams in ((ONE, 1), (MANY, STREAMS)):
            read = one.weight_bytes / streams + one.position_bytes * (CONTEXT - WRITTEN // 2)
            shares = [
                100 * speed * read / machine.bandwidth.median / 1e9
                for speed in figures.get((what, one.name), [])
            ]
            if shares:
                rows.append(Row(f"{what}, of the memory's limit, {one.name}", shares, "%"))
        flops = 2 * one.parameters / 1e9
        shares = [100 * speed * flops / machine.bf16.median for speed in figures[READ, one.name]]
        rows.append(Row(f"{READ}, products beside bf16's, {one.name}", shares, "%"))
    return rows
