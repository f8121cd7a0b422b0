"""`make chaos`: every fault in turn under load, then overload and leaks; exit 1 when a promise was broken."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from anygpt import topology
from tests.chaos.catalogue import mini_catalogue
from tests.chaos.cluster import EVERYTHING, Cluster, Shape
from tests.chaos.faults import at_random, crawls, everything_trades, frozen, killed, kills, outages
from tests.chaos.leaks import LEAKS, Leak, leak_table, measure_leak
from tests.chaos.meddler import pranks
from tests.chaos.overload import measure_overload, overload_table
from tests.chaos.storm import Fault, Load, Row, Weather
from tests.chaos.table import as_dict, storm_table
from tests.chaos.vitals import at_rest, unnamed_objects
from tests.flow.pack import build_pack

app = typer.Typer(add_completion=False)
OutFile = Annotated[Path | None, typer.Option("--json", help="File for the rows.")]
SLOWED = (topology.GATEWAY, "llm", "speech_decoder")
MINI_SERVICES = (topology.GATEWAY, "llm", "image_encoder", "image_decoder")


@app.command()
def storms(
    only: Annotated[str, typer.Option(help="Faults with one of these in their name; empty: all.")] = "",
    requests: Annotated[int, typer.Option(help="Requests of each storm, at least.")] = 30,
    rate: Annotated[float, typer.Option(help="Requests a second.")] = 3.0,
    services: Annotated[str, typer.Option(help="Two replicas of these.")] = ",".join(EVERYTHING),
    out: OutFile = None,
) -> None:
    """Raise each storm in turn on one cluster."""
    names = tuple(services.split(","))
    slow = [make(name) for make in (frozen, crawls) for name in SLOWED if name in names]
    every = (*kills(names), at_random(names), everything_trades(names), *slow, *outages(), *pranks())
    faults = [fault for fault in every if any(part in fault.name for part in only.split(","))]
    with tempfile.TemporaryDirectory() as folder:
        pack = build_pack(Path(folder) / "pack")
        with Cluster(Shape(str(pack), names)) as cluster:
            weather = Weather(cluster, Load(requests, rate))
            rows, is_calm = asyncio.run(_raise(cluster, weather, faults))
    _tell(rows, is_calm, out)


@app.command()
def mini(
    requests: Annotated[int, typer.Option(help="Requests of each storm, at least.")] = 10,
    out: OutFile = None,
) -> None:
    """Kill a replica of each service while the mini pack works, every answer equal to the bit."""
    faults = [killed(name, phase=phase) for name, phase in zip(
        MINI_SERVICES, ("decoding", "generating", "encoding", "decoding"), strict=True)]  # fmt: skip
    shape = Shape(
        "mini",
        MINI_SERVICES,
        step_s=None,
        environment={"ANYGPT_DETERMINISTIC": "true", "ANYGPT_THREADS": "1"},
    )
    with Cluster(shape) as cluster:
        weather = Weather(cluster, Load(requests, 0.3, deadline_s=400.0, crowd=0), mini_catalogue)
        rows, is_calm = asyncio.run(_raise(cluster, weather, faults))
    _tell(rows, is_calm, out)


@app.command()
def overload(
    seconds: Annotated[float, typer.Option(help="Length of each load.")] = 30.0, out: OutFile = None
) -> None:
    """Ask for once, twice and four times what the system can do, and look at what comes out."""
    with tempfile.TemporaryDirectory() as folder:
        pack = build_pack(Path(folder) / "pack")
        with Cluster(Shape(str(pack), replicas=1)) as cluster:
            rows = asyncio.run(measure_overload(cluster, seconds))
    Console(width=160).print(overload_table(rows))
    _write(out, rows)
    sys.exit(not all(row["holds"] for row in rows))


@app.command()
def leaks(
    thousand: Annotated[int, typer.Option(help="How many of each kind in one of the three rounds.")] = 1000,
    out: OutFile = None,
) -> None:
    """Abort, oversize and outlive requests by the thousand, and look at the memory of every process."""
    with tempfile.TemporaryDirectory() as folder:
        pack = build_pack(Path(folder) / "pack")
        with Cluster(Shape(str(pack), replicas=1, step_s=0.0)) as cluster:
            rows = asyncio.run(_leak(cluster, LEAKS, thousand))
    Console(width=160).print(leak_table(rows))
    _write(out, rows)
    sys.exit(not all(row["holds"] for row in rows))


async def _leak(cluster: Cluster, kinds: Sequence[Leak], thousand: int) -> list[dict[str, object]]:
    return [await measure_leak(cluster, leak, thousand) for leak in kinds]


async def _raise(cluster: Cluster, weather: Weather, faults: Sequence[Fault]) -> tuple[list[Row], bool]:
    """The storms, and whether nothing is left of them afterwards."""
    rows: list[Row] = []
    await weather.learn()
    await weather.fill()
    before = await at_rest(cluster)
    for fault in faults:
        rows.append(await weather.storm(fault))
        print(json.dumps(as_dict(rows[-1])), flush=True)
    after = await at_rest(cluster)
    unnamed = await unnamed_objects(cluster, [trace for row in rows for trace in row.traces])
    print(f"at rest before: {before}\nat rest after: {after}, objects that no event named: {len(unnamed)}")
    for replica, then, now in zip(cluster.all_replicas, before.each, after.each, strict=True):
        print(f"{replica.name}: {then[0]:.0f} -> {now[0]:.0f} MB, {then[1]} -> {now[1]} handles")
    return rows, after.is_as(before) and not unnamed


def _tell(rows: list[Row], is_calm: bool, out: Path | None) -> None:
    Console(width=160).print(storm_table(rows))
    _write(out, [as_dict(row) for row in rows])
    sys.exit(not is_calm or any(row.has_harm for row in rows))


def _write(out: Path | None, rows: Sequence[object]) -> None:
    if out:
        out.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    app()
