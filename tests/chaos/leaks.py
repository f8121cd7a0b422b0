"""What is left behind by requests that end badly, by the thousand: nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rich.table import Table

from anygpt.client import AsyncClient, Options
from anygpt.errors import AnyGPTError
from anygpt.v1 import types_pb2
from tests.chaos.cluster import Cluster
from tests.chaos.vitals import at_rest

AT_ONCE = 32
OVERSIZE = 300 * 1024
ROUNDS = 3
SLACK_MB = 8.0
"""What the memory of all processes together may grow by from the second round to the third: noise."""

End = Callable[[AsyncClient], Awaitable[None]]


@dataclass(frozen=True)
class Leak:
    """A way for a request to end badly."""

    name: str
    end: End


async def _abort(client: AsyncClient) -> None:
    request = await client.request("hang", options=Options(want=["text"]))
    request.grace.FromMilliseconds(0)
    stream = client.stream(request)
    await anext(stream)
    await stream.aclose()  # type: ignore[attr-defined]


async def _oversize(client: AsyncClient) -> None:
    request = await client.request("hello", options=Options(want=["text"]))
    request.parts.add(inline=types_pb2.InlineMedia(data=bytes(OVERSIZE)))
    async for _ in client.stream(request):
        pass


async def _miss(client: AsyncClient) -> None:
    await client.answer("hang", options=Options(want=["text"], timeout_s=0.5))


LEAKS = (Leak("aborts", _abort), Leak("oversize requests", _oversize), Leak("deadline misses", _miss))


async def measure_leak(cluster: Cluster, leak: Leak, thousand: int) -> dict[str, object]:
    """Three rounds of so many; memory and file handles at rest after each."""
    seen = []
    async with cluster.client() as client:
        for _ in range(ROUNDS):
            await _repeat(client, leak.end, thousand)
            seen.append(await at_rest(cluster))
    growth_mb = seen[2].resident_mb - seen[1].resident_mb
    new_handles = seen[2].handles - seen[1].handles
    return {
        "ending": leak.name,
        "each round": thousand,
        "MB after each": [round(each.resident_mb) for each in seen],
        "handles after each": [each.handles for each in seen],
        "lag": seen[2].lag,
        "growth MB": round(growth_mb, 1),
        "holds": growth_mb <= SLACK_MB and new_handles <= len(cluster.all_replicas) and not seen[2].lag,
    }


def leak_table(rows: list[dict[str, object]]) -> Table:
    """One line for each way to end."""
    made = Table(*rows[0], title="leaks")
    for row in rows:
        made.add_row(*(str(value) for value in row.values()))
    return made


async def _repeat(client: AsyncClient, end: End, count: int) -> None:
    left = iter(range(count))

    async def user() -> None:
        for _ in left:
            with contextlib.suppress(AnyGPTError):
                await end(client)

    await asyncio.gather(*(user() for _ in range(AT_ONCE)))
