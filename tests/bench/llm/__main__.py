"""`make bench-llm`: one table of all rows. A part can be measured by itself, beside what was measured before."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from anygpt.settings import let_idle_threads_sleep
from tests.bench.row import Row


@dataclass(frozen=True, slots=True)
class Task:
    """What a part is asked for."""

    repeats: int
    minutes: float
    """After so many no further repeat begins."""
    threads: int
    rehearse: bool
    """A tiny model on the CPU in the place of a GPU."""


def _side_by_side(task: Task) -> list[Row]:
    from tests.bench.llm.side_by_side import measure

    return measure(task.repeats, task.threads, task.minutes)


def _continuous(task: Task) -> list[Row]:
    from tests.bench.llm.side_by_side import measure_continuous

    return measure_continuous(task.repeats, task.threads, task.minutes)


def _perplexity(task: Task) -> list[Row]:
    from tests.bench.llm.perplexity import measure

    return measure(task.threads)


def _stage(task: Task) -> list[Row]:
    from tests.bench.llm.stage import measure

    return measure(task.repeats)


def _demo(task: Task) -> list[Row]:
    from tests.bench.llm.demo import measure

    return measure(min(task.repeats, 3))


def _gpu(task: Task) -> list[Row]:
    from tests.bench.llm.gpu import measure

    return measure(task.repeats, rehearse=task.rehearse)


PARTS: Mapping[str, Callable[[Task], list[Row]]] = {
    "side-by-side": _side_by_side,
    "continuous": _continuous,
    "perplexity": _perplexity,
    "stage": _stage,
    "demo": _demo,
    "gpu": _gpu,
}


def main(
    part: Annotated[list[str] | None, typer.Option(help=f"One or more of {', '.join(PARTS)}.")] = None,
    repeats: Annotated[int, typer.Option(help="Repeats of each figure.")] = 5,
    minutes: Annotated[
        float, typer.Option(help="No repeat of the engines side by side begins after them.")
    ] = 60,
    threads: Annotated[int, typer.Option(help="Threads of every engine.")] = os.cpu_count() or 1,
    rehearse: Annotated[bool, typer.Option(help="The part for a GPU with a tiny model on the CPU.")] = False,
    results: Annotated[Path, typer.Option(help="Where rows are kept.")] = Path("out/bench-llm.json"),
) -> None:
    """Measure and print."""
    let_idle_threads_sleep()
    import torch

    torch.set_num_threads(threads)
    task = Task(repeats, minutes, threads, rehearse)
    kept: dict[str, list[dict[str, object]]] = (
        json.loads(results.read_text()) if part and results.is_file() else {}
    )
    for name in part or [one for one in PARTS if one != "gpu" or torch.cuda.is_available() or rehearse]:
        kept[name] = [asdict(row) for row in PARTS[name](task)]
        results.parent.mkdir(parents=True, exist_ok=True)
        results.write_text(json.dumps(kept, indent=1))
    rows = [Row(**row) for name in PARTS for row in kept.get(name, [])]  # type: ignore[arg-type]
    print_table(rows, threads)


def print_table(rows: list[Row], threads: int) -> None:
    """All rows, with the machine in the title."""
    from tests.bench.llm.machine import describe

    table = Table(
        "what", "median", "min - max", "goal", title=f"token generator, {threads} threads, {describe()}"
    )
    for row in rows:
        spread = f"{row.shown(row.low)} - {row.shown(row.high)}"
        table.add_row(row.what, row.shown(row.median), spread, row.goal)
    Console(width=150).print(table)


if __name__ == "__main__":
    typer.run(main)
