"""`make bench-llm`: one table, every engine in turn within each repeat, medians with their spread."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from anygpt.pack import open_pack
from services.llm.model.loading import base_source
from tests.bench.llm.contender import PREFILL, WRITTEN, Contender
from tests.bench.llm.ours import Ours
from tests.bench.llm.stage import measure_stage
from tests.bench.row import Row

STREAMS = 16


def main(
    repeats: Annotated[int, typer.Option(help="Repeats of each figure.")] = 5,
    threads: Annotated[int, typer.Option(help="Threads of every engine.")] = os.cpu_count() or 1,
    stage: Annotated[bool, typer.Option(help="Also the whole stage, in process and over gRPC.")] = True,
) -> None:
    """Measure and print."""
    torch.set_num_threads(threads)
    rows = [Row("memory read", [_bandwidth() for _ in range(repeats)], "GB/s")]
    with tempfile.TemporaryDirectory() as folder:
        rows += _side_by_side(_contenders(Path(folder), threads), repeats, rows[0].median)
    if stage:
        rows += measure_stage(repeats)
    table = Table(
        "what",
        "median",
        "min - max",
        "goal",
        title=f"token generator, {threads} threads, {platform.machine()}",
    )
    for row in rows:
        table.add_row(
            row.what, row.shown(row.median), f"{row.shown(row.low)} - {row.shown(row.high)}", row.goal
        )
    Console(width=150).print(table)


def _contenders(folder: Path, threads: int) -> list[Contender]:
    from tests.bench.llm.transformers_engine import Transformers

    source = base_source(open_pack("mini"))
    found: list[Contender] = [Ours("int8", threads)]
    if find_spec("llama_cpp"):
        from tests.bench.llm.llama_cpp_engine import LlamaCpp, converted

        for name in ("Q4_0", "Q4_1", "Q8_0", "F16"):
            file = source if name == "Q4_1" else converted(source, folder, name)
            found.append(LlamaCpp(name, file, STREAMS, threads))
    return [*found, Transformers(source, torch.float32)]


def _side_by_side(contenders: list[Contender], repeats: int, bandwidth: float) -> list[Row]:
    figures: dict[tuple[str, str], list[float]] = {}
    for repeat in range(repeats + 1):
        for one in contenders:
            for what, tokens, run in _tasks(one):
                speed = tokens / run()
                print(f"{repeat} {what}, {one.name}: {speed:.1f} tok/s", file=sys.stderr, flush=True)
                # The first round warms up.
                if repeat:
                    figures.setdefault((what, one.name), []).append(speed)
    rows = [Row(f"{what}, {name}", values, "tok/s") for (what, name), values in sorted(figures.items())]
    return [*rows, *_ratios(figures), *_limits(figures, contenders, bandwidth)]


def _tasks(one: Contender) -> list[tuple[str, int, Callable[[], float]]]:
    tasks: list[tuple[str, int, Callable[[], float]]] = [
        ("decode 1", WRITTEN, lambda: one.decode(1)),
        (f"decode {STREAMS}", STREAMS * WRITTEN, lambda: one.decode(STREAMS)),
        (f"prefill {PREFILL}", PREFILL, one.prefill),
    ]
    continuous = getattr(one, "decode_continuously", None)
    if continuous:
        tasks.append(
            (f"decode {STREAMS} continuously", STREAMS * WRITTEN, lambda: float(continuous(STREAMS)))
        )
    return tasks


def _ratios(figures: dict[tuple[str, str], list[float]]) -> list[Row]:
    goals = {
        ("decode 1", "llama.cpp Q4"): ">= 1.0x",
        (f"decode {STREAMS}", "llama.cpp"): ">= 2.5x",
        (f"decode {STREAMS}", "transformers"): ">= 2.5x",
        (f"decode {STREAMS} continuously", "transformers"): ">= 2.5x",
        (f"prefill {PREFILL}", "llama.cpp"): ">= 4x",
        (f"prefill {PREFILL}", "transformers"): ">= 1.5x",
    }
    rows = []
    for (what, rival), goal in goals.items():
        values = [figures[key] for key in figures if key[0] == what and key[1].startswith(rival)]
        if values:
            best = max(values, key=statistics.median)
            own = figures[what.removesuffix(" continuously"), "ours int8"]
            ratios = [mine / other for mine, other in zip(own, best, strict=True)]
            rows.append(Row(f"{what}, ours / best {rival}", ratios, "x", goal))
    return rows


def _limits(
    figures: dict[tuple[str, str], list[float]], contenders: list[Contender], bandwidth: float
) -> list[Row]:
    """How close one stream comes to reading the weights once a token."""
    return [
        Row(
            f"decode 1, share of the memory's limit, {one.name}",
            [100 * speed * one.weight_bytes / bandwidth / 1e9 for speed in figures["decode 1", one.name]],
            "%",
        )
        for one in contenders
        if one.weight_bytes
    ]


def _bandwidth() -> float:
    """GB/s of reading far more than the caches hold, by all threads."""
    numbers = torch.ones(64 * 1024 * 1024)
    began = time.perf_counter()
    numbers.sum()
    return numbers.nbytes / (time.perf_counter() - began) / 1e9


if __name__ == "__main__":
    typer.run(main)
