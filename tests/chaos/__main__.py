"""`make chaos`: every fault in turn under load, then the table; exit 1 when something was lost, repeated or wrong."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tests.chaos.cluster import EVERYTHING, Cluster, Shape
from tests.chaos.faults import everything_trades, kills, outages
from tests.chaos.meddler import pranks
from tests.chaos.storm import Fault, Load, Row, Weather
from tests.chaos.table import as_dict, table
from tests.chaos.vitals import at_rest, unnamed_objects
from tests.flow.pack import build_pack

app = typer.Typer(add_completion=False)


@app.command()
def storms(
    only: Annotated[str, typer.Option(help="Faults with this in their name; empty: all.")] = "",
    requests: Annotated[int, typer.Option(help="Requests of each storm, at least.")] = 30,
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 3.0,
    out: Annotated[Path | None, typer.Option("--json", help="File for the rows.")] = None,
) -> None:
    """Raise each storm in turn on one cluster with two replicas of everything."""
    faults = [fault for fault in (*kills(EVERYTHING), everything_trades(EVERYTHING), *outages(), *pranks())
              if only in fault.name]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        pack = build_pack(Path(folder) / "pack")
        with Cluster(Shape(pack)) as cluster:
            rows = asyncio.run(_raise(cluster, faults, Load(requests, rate)))
    Console(width=160).print(table(rows))
    if out:
        out.write_text(json.dumps([as_dict(row) for row in rows], indent=1), encoding="utf-8")
    sys.exit(any(row.lost or row.breaches or row.wrong for row in rows))


async def _raise(cluster: Cluster, faults: list[Fault], load: Load) -> list[Row]:
    weather, rows = Weather(cluster), []
    await weather.learn()
    before = await at_rest(cluster)
    for fault in faults:
        rows.append(row := await weather.storm(fault, load))
        print(json.dumps(as_dict(row)), flush=True)
    after = await at_rest(cluster)
    traces = [trace for row in rows for trace in row.traces]
    unnamed = await unnamed_objects(cluster, traces)
    print(f"at rest before: {before}\nat rest after: {after}, objects that no event named: {len(unnamed)}")
    return rows


if __name__ == "__main__":
    app()
