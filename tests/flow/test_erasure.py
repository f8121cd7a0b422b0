"""Erasure: after a conversation or a tenant is deleted, nothing of it is found anywhere but in records that age out."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.client import AsyncClient, Media, Options
from anygpt.dead import read_letters
from anygpt.errors import AnyGPTError, Conflict, NotFound
from anygpt.main import Process, running
from anygpt.settings import ServiceSettings
from anygpt.store_folder import FolderStore
from services.batch.__main__ import SERVICE as BATCH
from services.gateway.__main__ import SERVICE as GATEWAY
from services.gateway.memory_keys import client_key
from services.gateway.settings import Settings
from services.gateway.sweeper import Sweeper
from tests.flow.media import picture, sound
from tests.flow.stages import plain_services

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")
DAY_S = 24 * 3600


class System:
    """The embedded form in this process, with everything that it keeps in sight."""

    def __init__(self, process: Process, folder: Path) -> None:
        self.address = f"127.0.0.1:{process.port}"
        self.objects = folder / "objects"
        self._folder = folder
        runtime = process._runtime
        assert isinstance(runtime.bus, MemoryBus)
        self.bus = runtime.bus
        self.memory = runtime.memory

    def stored(self) -> dict[str, bytes]:
        """Every object."""
        files = [file for file in self.objects.rglob("*") if file.is_file()]
        return {file.relative_to(self.objects).as_posix(): file.read_bytes() for file in files}

    def remembered(self) -> dict[str, bytes]:
        """Every value of the memory."""
        with sqlite3.connect(self._folder / "memory.sqlite") as connection:
            return dict(connection.execute("SELECT key, value FROM memory"))

    async def letters(self) -> list[bytes]:
        """The dead letters of all stages."""
        found = [await read_letters(self.bus, entry) for entry in topology.STAGES.values()]
        return [letter.SerializeToString() for each in found for letter in each.values()]

    async def traces(self, *words: str) -> list[str]:
        """Where any of the words is found, but for what ages out of the topics."""
        places = {f"object {k}": v for k, v in self.stored().items()}
        places |= {f"memory {k}": v for k, v in self.remembered().items()}
        places |= {f"letter {i}": letter for i, letter in enumerate(await self.letters())}
        return [k for k, v in places.items() for word in words if word in k or word.encode() in v]

    def age(self, seconds: float) -> None:
        """Make every object older."""
        for file in self.objects.rglob("*"):
            if file.is_file():
                os.utime(file, (time.time() - seconds,) * 2)


@pytest.fixture
async def system(plain_pack: Path, tmp_path: Path) -> AsyncIterator[System]:
    settings = ServiceSettings(port=0, data=tmp_path, pack=str(plain_pack))
    async with running([GATEWAY, *plain_services(), BATCH], settings) as process:
        yield System(process, tmp_path)


async def sweep(system: System) -> int:
    """One pass of the sweeper."""
    store = await FolderStore(system.objects).open()
    count = await Sweeper(store, system.memory, Settings()).sweep()
    await store.close()
    return count


async def fill(client: AsyncClient, secret: str) -> tuple[str, list[str]]:
    """A conversation with media in and out, and a dead letter: its id, and the ids of its requests."""
    options = Options(conversation_id=await client.new_conversation())
    answer = await client.answer(Media(picture(64), "image"), f"{secret} image speech", options=options)
    with pytest.raises(AnyGPTError) as caught:
        await client.answer(f"{secret} crash", options=options)
    assert caught.value.reason == "INTERNAL"
    again = await client.answer(Media(sound(), "speech"), secret, options=options)
    return options.conversation_id, [answer.request_id, again.request_id]


async def test_nothing_of_a_deleted_conversation_is_left(system: System) -> None:
    async with AsyncClient(system.address) as client:
        conversation_id, requests = await fill(client, "crocus")
        assert len(await system.traces("crocus")) > 2
        await client.delete_conversation(conversation_id)
        with pytest.raises(NotFound):
            await client.conversation(conversation_id)
        assert await system.traces("crocus", conversation_id, *requests) == []
        assert not [key for key in system.stored() if "/uploads/" in key or "/media/" in key]
        assert not [key for key in system.remembered() if key.startswith("encoded/")]


async def test_media_that_another_conversation_holds_is_kept_for_it(system: System) -> None:
    async with AsyncClient(system.address) as client:
        first, second = await client.new_conversation(), await client.new_conversation()
        for conversation_id in (first, second):
            await client.answer(
                Media(picture(64), "image"), "look", options=Options(conversation_id=conversation_id)
            )
        await client.delete_conversation(first)
        turn = (await client.conversation(second)).turns[0]
        assert await client.download(turn.parts[0].media.object) == picture(64)
        await client.delete_conversation(second)
        with pytest.raises(NotFound):
            await client.download(turn.parts[0].media.object)


async def test_a_conversation_with_a_request_under_way_is_not_deleted(system: System) -> None:
    async with AsyncClient(system.address) as client:
        options = Options(conversation_id=await client.new_conversation())
        events = client.events("hang", options=options)
        started = await anext(events)
        with pytest.raises(Conflict):
            await client.delete_conversation(options.conversation_id)
        await client.cancel(started.request_id)
        assert [event async for event in events][-1].HasField("cancelled")
        await client.delete_conversation(options.conversation_id)


async def test_nothing_of_a_deleted_tenant_is_left_and_all_of_another_is(system: System) -> None:
    async with (
        AsyncClient(system.address, "leaving") as leaving,
        AsyncClient(system.address, "staying") as staying,
    ):
        for client in (leaving, staying):
            await fill(client, "crocus")
            await client.answer("image", options=Options(idempotency_key="key"))
            job = await client.submit_job(json.dumps({"parts": [{"text": "image"}]}).encode())
            async for state in client.watch_job(job.job_id):
                job = state
        other = {key: value for key, value in system.stored().items() if not key.startswith("leaving/")}
        hanging = leaving.events("hang")
        await anext(hanging)
        waiting = await leaving.submit_job(json.dumps({"parts": [{"text": "hang"}]}).encode())
        erased = await leaving.delete_tenant()
        assert erased.cancelled_requests >= 1
        assert erased.dead_letters >= 1
        assert [event async for event in hanging][-1].HasField("cancelled")
        with pytest.raises(NotFound):
            await leaving.cancel_job(waiting.job_id)
        await sweep(system)
        assert await system.traces("leaving") == ["object _erased/leaving"]
        assert {key: value for key, value in system.stored().items() if key in other} == other
        assert await system.traces("crocus")


async def test_what_late_work_remembers_of_an_erased_tenant_is_forgotten_by_the_sweeper(
    system: System,
) -> None:
    async with AsyncClient(system.address, "leaving") as leaving:
        await leaving.delete_tenant()
    late = client_key("leaving", "request"), client_key("staying", "request")
    for key in late:
        await system.memory.set(key, b"attempt", 60.0)
    await sweep(system)
    assert [await system.memory.get(key) for key in late] == [None, b"attempt"]


async def test_what_no_topic_compacts_ages_out_within_hours() -> None:
    for topic in topology.TOPICS.values():
        assert topic.is_compacted or topic.retention_ms <= 6 * 3600 * 1000


async def test_the_sweeper_removes_what_nobody_holds_and_nothing_else(system: System) -> None:
    async with AsyncClient(system.address) as client:
        held = Options(conversation_id=await client.new_conversation())
        kept = (await client.answer(Media(picture(64), "image"), "image", options=held)).media("image")[0]
        loose = (await client.answer(Media(picture(70), "image"), "image")).media("image")[0]
        await client.answer("hello", options=Options(idempotency_key="key"))
        assert await sweep(system) == 0
        system.age(8 * DAY_S)
        assert await sweep(system) > 0
        assert await sweep(system) == 0
        assert await client.download(kept.object)
        with pytest.raises(NotFound):
            await client.download(loose.object)
        assert not [key for key in system.stored() if "/idempotency/" in key]
        assert len((await client.conversation(held.conversation_id)).turns) == 1


async def test_an_ended_job_is_swept_with_its_media_when_it_is_old(system: System) -> None:
    async with AsyncClient(system.address) as client:
        job = await client.submit_job(json.dumps({"parts": [{"text": "image"}]}).encode())
        async for state in client.watch_job(job.job_id):
            job = state
        system.age(8 * DAY_S)
        await sweep(system)
        result = json.loads(await client.download(job.results.object))
        assert await client.download(result["answer"][1]["media"]["object"])
        system.age(31 * DAY_S)
        await sweep(system)
        assert system.stored() == {}
