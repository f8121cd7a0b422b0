"""Fair shares and back-pressure through the whole system, on stages that do no work and have few places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.answer import TERMINALS, Event
from anygpt.client import AsyncClient, Options
from anygpt.errors import Conflict, Exhausted
from anygpt.main import running
from anygpt.settings import ServiceSettings
from services.gateway.__main__ import SERVICE as GATEWAY
from services.gateway.settings import Settings
from tests.flow.stages import plain_services

PLACES = 2
REQUESTS = 40


class FewRequests(Settings):
    """A gateway that lets few requests in."""

    running_requests: int = REQUESTS
    stage_backlog: int = 100


@pytest.fixture
async def small(plain_pack: Path, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a system whose stages have two places each."""
    services = [replace(service, concurrency=PLACES) for service in plain_services()]
    settings = ServiceSettings(port=0, data=tmp_path, pack=str(plain_pack))
    async with running([replace(GATEWAY, settings=FewRequests), *services], settings) as process:
        yield f"127.0.0.1:{process.port}"


class Flood:
    """A tenant that asks without end, REQUESTS at once and in spite of all refusals."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._asking: list[asyncio.Task[None]] = []
        self.finished = 0
        self.refusals: list[Exhausted] = []
        self.is_full = asyncio.Event()

    async def _ask(self) -> None:
        while True:
            try:
                await self._client.answer("slow", options=Options(want=["text"]))
                self.finished += 1
            except Exhausted as refusal:
                self.refusals.append(refusal)
                self.is_full.set()
                await asyncio.sleep(0.05)

    async def __aenter__(self) -> Flood:
        self._asking = [asyncio.create_task(self._ask()) for _ in range(REQUESTS)]
        await asyncio.wait_for(self.is_full.wait(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)


async def test_a_tenants_flood_neither_refuses_nor_delays_another(small: str) -> None:
    async with AsyncClient(small, "flood") as many, AsyncClient(small, "guest") as one, Flood(many) as flood:
        for _ in range(5):
            before = flood.finished
            answer = await one.answer("slow", options=Options(want=["text"]))
            assert answer.text
            assert flood.finished - before < 5 * PLACES, "served behind the whole backlog of the flood"


async def test_two_floods_get_about_half_each(small: str) -> None:
    async with (
        AsyncClient(small, "first") as first,
        AsyncClient(small, "second") as second,
        Flood(first) as one,
        Flood(second) as two,
    ):
        start = one.finished, two.finished
        async with asyncio.timeout(60):
            while one.finished + two.finished - sum(start) < 60:
                await asyncio.sleep(0.05)
        shares = one.finished - start[0], two.finished - start[1]
    assert 0.6 <= shares[0] / shares[1] <= 1.7


async def test_a_refusal_is_resource_exhausted_with_a_delay(small: str) -> None:
    async with AsyncClient(small, "flood") as many, Flood(many) as flood:
        refusal = flood.refusals[0]
    assert (refusal.code, refusal.reason) == (8, "TENANT_FULL")
    assert refusal.retry_after_ms >= 100


async def test_who_was_admitted_before_is_followed_however_full_it_is(small: str) -> None:
    async with AsyncClient(small, "flood") as many:
        first = await many.answer("hello", options=Options(idempotency_key="mine"))
        async with Flood(many):
            for number in range(20):
                with suppress(Exhausted):
                    await many.answer("slow", options=Options(want=["text"], idempotency_key=f"new {number}"))
            again = await many.answer("hello", options=Options(idempotency_key="mine"))
            with pytest.raises(Conflict):
                await many.answer("another body", options=Options(idempotency_key="mine"))
    assert again.request_id == first.request_id


async def test_an_answer_does_without_a_modality_whose_decoder_is_full(
    plain_pack: Path, tmp_path: Path
) -> None:
    class NoBacklog(Settings):
        stage_backlog: int = 0

    few = [
        replace(service, concurrency=1 if service.name == "speech_decoder" else 8)
        for service in plain_services()
    ]
    settings = ServiceSettings(port=0, data=tmp_path, pack=str(plain_pack))
    async with (
        running([replace(GATEWAY, settings=NoBacklog), *few], settings) as process,
        AsyncClient(f"127.0.0.1:{process.port}") as client,
    ):
        holder = client.events("hold", options=Options(want=["speech"], voice="mute"))
        held = await anext(holder)
        started, opened = await _until_closed(client)
        assert list(started.started.closed) == [topology.SPEECH]
        assert opened == ["text", "image"]
        with pytest.raises(Exhausted) as refused:
            await client.answer("speech", options=Options(want=["speech"]))
        assert refused.value.reason == "SYSTEM_FULL"
        await client.cancel(held.request_id)
        assert [event async for event in holder][-1].HasField("cancelled")


async def _until_closed(client: AsyncClient) -> tuple[Event, list[str]]:
    """Ask for speech and an image, in words, until the gateway has heard how little the speech decoder can."""
    async with asyncio.timeout(20):
        while True:
            events = [event async for event in client.events("hello speech image")]
            opened = [
                topology.MODALITY_NAMES[e.span_started.modality] for e in events if e.HasField("span_started")
            ]
            if events[0].started.closed:
                return events[0], opened
            await asyncio.sleep(0.1)


async def test_sixty_four_streams_through_one_gateway_each_end_once_and_in_time(
    embedded_address: str,
) -> None:
    async with AsyncClient(embedded_address) as client:

        async def stream(number: int) -> list[Event]:
            words = "slow hello speech image" if number % 2 else "slow " * 10
            return [event async for event in client.events(words, options=Options(seed=number))]

        async with asyncio.timeout(60):
            runs = await asyncio.gather(*(stream(number) for number in range(64)))
        assert len({events[0].request_id for events in runs}) == 64
        for events in runs:
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            kinds = [event.WhichOneof("kind") for event in events]
            assert kinds[-1] == "finished"
            assert not TERMINALS.intersection(kinds[:-1])
            assert [event async for event in client.resume(events[0].request_id, 0)] == events
