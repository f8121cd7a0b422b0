"""`make bench`: what the pipeline adds, side by side in one run; a table in the terminal, JSON with --json FILE."""

from __future__ import annotations

import asyncio
import json
import platform
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.bench.mini import measure_mini
from tests.bench.pipeline import measure_embedded, measure_kafka
from tests.bench.shares import measure_shares


def main(
    kafka: Annotated[
        bool, typer.Option(help="Also on real Kafka, MinIO and Redis, each service its own process.")
    ] = True,
    mini: Annotated[bool, typer.Option(help="Also the mini pack.")] = True,
    requests: Annotated[int, typer.Option(help="Requests of each row.")] = 100,
    out: Annotated[Path | None, typer.Option("--json", help="File for the rows.")] = None,
) -> None:
    """Measure and print."""
    rows = asyncio.run(measure_embedded(requests)) + asyncio.run(measure_shares())
    if kafka:
        rows += asyncio.run(measure_kafka(requests))
    if mini:
        rows += asyncio.run(measure_mini())
    table = Table(
        "what", "median", "min - max", "goal", title=f"pipeline on {platform.processor() or 'this machine'}"
    )
    for row in rows:
        table.add_row(
            row.what, row.shown(row.median), f"{row.shown(row.low)} - {row.shown(row.high)}", row.goal
        )
    Console().print(table)
    if out:
        out.write_text(json.dumps([row.as_dict() for row in rows], indent=1), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
