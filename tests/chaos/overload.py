"""More than the system can do: what comes out stays what it is at its best."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice, takewhile
from typing import Any

from rich.table import Table

from anygpt.bench import Bench, Patience, arrivals
from anygpt.bench_report import Slo, report
from anygpt.client import AsyncClient
from tests.chaos.catalogue import Request, drawn, plain_catalogue
from tests.chaos.cluster import Cluster

SEED = 2
AT_ONCE = 48
FACTORS = (1.0, 2.0, 4.0)
ARRIVALS = {"Poisson": 1.0, "bursts": 0.2}
KEPT = 0.9
"""The share of the peak that goodput keeps at four times the load."""


SLO = Slo(total=10.0)
PATIENCE = Patience(10.0, 60.0)
"""Who has no use for a later answer says so: the deadline is what goodput counts."""


async def measure_overload(cluster: Cluster, seconds: float) -> list[dict[str, Any]]:
    """What the system can do in a closed loop, then each multiple of it in an open one."""
    async with cluster.client() as client:
        templates = await plain_catalogue(client, cluster.shape.services)
        capacity = await _capacity(client, templates, seconds)
        rows = [
            await _loaded(client, templates, seconds, (name, factor, capacity))
            for name in ARRIVALS
            for factor in FACTORS
        ]
    for row in rows:
        peak = max(each["goodput_per_s"] for each in rows if each["arrivals"] == row["arrivals"])
        row["holds"] = not row["breaches"] and (
            row["load"] < FACTORS[-1] or row["goodput_per_s"] >= KEPT * peak
        )
    return rows


def overload_table(rows: list[dict[str, Any]]) -> Table:
    """One line for each load."""
    columns = (
        "arrivals",
        "load",
        "offered_per_s",
        "finished_per_s",
        "goodput_per_s",
        "outcomes",
        "total_ms",
        "refused_ms",
        "holds",
    )
    made = Table(*columns, title="overload")
    for row in rows:
        made.add_row(*(str(row[column]) for column in columns))
    return made


async def _capacity(client: AsyncClient, templates: list[Request], seconds: float) -> float:
    bench = Bench([client], PATIENCE)
    requests: Iterator[Request] = takewhile(lambda _: bench.now_s() < seconds, drawn(templates))
    traces = await bench.closed_loop(requests, AT_ONCE)
    return float(report(traces, SLO)["finished_per_s"])


async def _loaded(
    client: AsyncClient, templates: list[Request], seconds: float, load: tuple[str, float, float]
) -> dict[str, Any]:
    name, factor, capacity = load
    bench = Bench([client], PATIENCE)
    count = math.ceil(factor * capacity * seconds)
    due_s = arrivals(factor * capacity, ARRIVALS[name], SEED)
    traces = await bench.open_loop(islice(drawn(templates), count), due_s)
    return {"arrivals": name, "load": factor, **report(traces, SLO)}
