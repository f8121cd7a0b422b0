"""What stops when: for each phase and each untimely end, the stage's work ends and nothing is left behind.

The table in the gateway's README is checked against this one, which `pytest -s` prints with the seconds it took.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from anygpt import topology
from anygpt.answer import Event
from anygpt.client import AsyncClient, Options
from anygpt.main import Runtime
from tests.flow.inside import inside
from tests.flow.media import sample
from tests.flow.test_endings import PHASES

STAGE_OF = {"encoding": "image_encoder", "generating": "llm", "decoding": "speech_decoder"}
END_OF = {"cancel": "cancelled", "deadline": "expired", "gone": "cancelled"}
LATEST_S = 20.0
DEADLINE_S = 4.0
MOMENTS = 16
WHOLE_S = 1.5
"""Longer than the whole answer takes: the latest cancels come too late."""
README = Path(__file__).parents[2] / "services" / "gateway" / "README.md"


class System:
    """The plain system in this process, which can be looked into."""

    def __init__(self, address: str, runtime: Runtime) -> None:
        self.client = AsyncClient(address)
        self._store = runtime.store

    def at_work(self, stage: str) -> bool:
        return bool(REGISTRY.get_sample_value("anygpt_stage_running", {"stage": stage}))

    def held(self) -> float:
        """Errands that any stage has, working or waiting."""
        names = ("anygpt_stage_running", "anygpt_stage_waiting")
        values = [
            REGISTRY.get_sample_value(name, {"stage": each}) for name in names for each in topology.STAGES
        ]
        return sum(value or 0 for value in values)

    async def objects(self, request_id: str) -> list[str]:
        """What the store has of a request."""
        return [each.key for each in await self._store.list("default/media/") if request_id in each.key]

    async def last(self, request_id: str) -> Event:
        return [event async for event in self.client.resume(request_id, 0)][-1]


@pytest.fixture
async def system(plain_pack: Path, tmp_path: Path) -> AsyncIterator[System]:
    async with inside(plain_pack, tmp_path) as (address, runtime):
        made = System(address, runtime)
        await made.client.answer(sample("image"), "speech")
        yield made
        await made.client.close()


async def end(system: System, phase: str, ending: str) -> tuple[Event, float]:
    """Bring a request into a phase, end it; returns its last event, and the seconds until its stage stood still."""
    pieces, options = PHASES[phase]
    request = await system.client.request(*pieces, options=options)
    if ending == "gone":
        request.grace.FromMilliseconds(0)
    stream = system.client.stream(request, DEADLINE_S if ending == "deadline" else None)
    request_id = (await anext(stream)).request_id
    while not system.at_work(STAGE_OF[phase]):
        await asyncio.sleep(0.01)
    began = time.monotonic() + (DEADLINE_S if ending == "deadline" else 0)
    if ending == "cancel":
        assert await system.client.cancel(request_id)
    elif ending == "gone":
        await stream.aclose()  # type: ignore[attr-defined]
    while system.held():
        await asyncio.sleep(0.01)
    stopped_s = max(0.0, time.monotonic() - began)
    return await system.last(request_id), stopped_s


async def test_whatever_ends_a_request_its_work_stops_and_nothing_is_left(
    system: System, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["| phase | cancel | deadline | gone |"]
    for phase in PHASES:
        cells = []
        for ending, outcome in END_OF.items():
            async with asyncio.timeout(LATEST_S):
                last, stopped_s = await end(system, phase, ending)
            assert last.WhichOneof("kind") == outcome
            assert await system.objects(last.request_id) == []
            cells.append(f"{stopped_s:.2f} s")
        rows.append(f"| {phase} | {' | '.join(cells)} |")
    with capsys.disabled():
        print("\nuntil every stage stood still:", *rows, sep="\n")


async def test_a_cancel_at_any_moment_ends_a_request_once_and_leaves_nothing(system: System) -> None:
    drawn, outcomes = random.Random(6), set[str]()
    for number in range(MOMENTS):
        request = await system.client.request(
            sample("image"), "slow slow slow speech image", options=Options()
        )
        events: list[Event] = []
        cancelling: asyncio.Task[bool] | None = None
        async with asyncio.timeout(LATEST_S):
            async for event in system.client.stream(request):
                events.append(event)
                if cancelling is None:
                    wait_s = drawn.uniform(0, WHOLE_S) * number / MOMENTS
                    cancelling = asyncio.create_task(_cancel_after(system.client, wait_s, event.request_id))
            assert cancelling is not None
            is_cancelled = await cancelling
            while system.held():
                await asyncio.sleep(0.01)
        outcome = events[-1].WhichOneof("kind")
        assert outcome in ("cancelled", "finished")
        assert is_cancelled or outcome == "finished"
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        named = {event.media_ready.media.object for event in events if event.HasField("media_ready")}
        kept = {key.removeprefix("default/") for key in await system.objects(events[0].request_id)}
        assert kept <= named
        outcomes.add(str(outcome))
    assert outcomes == {"cancelled", "finished"}, "no moment was late, or none was early"


async def _cancel_after(client: AsyncClient, wait_s: float, request_id: str) -> bool:
    await asyncio.sleep(wait_s)
    return await client.cancel(request_id)


def test_the_readme_tells_of_every_phase_and_every_end() -> None:
    lines = [line for line in README.read_text().splitlines() if line.startswith("| ")]
    told = {cell.strip() for line in lines for cell in line.split("|")[1:2]}
    assert {"accepted", *PHASES} <= told
    assert any({"cancel", "deadline", "gone"} <= {cell.strip() for cell in line.split("|")} for line in lines)
