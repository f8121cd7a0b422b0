"""What the twins promise beyond the contract, as the embedded form runs on them in production."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from anygpt.bus import Record
from anygpt.bus_memory import MemoryBus
from anygpt.connections import create_infrastructure, open_bus, open_memory, open_store
from anygpt.errors import Exhausted, InvalidInput, OutOfRange, Unavailable, Unserved
from anygpt.memory import FORGET_EVERY_WRITES, SqliteMemory
from anygpt.settings import ServiceSettings
from anygpt.store_folder import STAGING, FolderStore
from anygpt.topology import GENERATOR, REPLIES, TOPICS

WRITES_UNTIL_KILLED = """
import asyncio, pathlib, sys
from anygpt.memory import SqliteMemory
from anygpt.store_folder import FolderStore

async def main(folder):
    store, memory = await FolderStore(folder / "objects").open(), await SqliteMemory(folder / "memory").open()
    for number in range(10**6):
        await store.put(f"t/{number}", b"x" * 1000, "x/y")
        await memory.set(f"t/{number}", b"x" * 1000, 60)
        print(number, flush=True)

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""
VENDORS = "import sys, anygpt.connections; print({'kafka', 'minio', 'redis'} & set(sys.modules))"


async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    command = ["-c", WRITES_UNTIL_KILLED, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    async for line in process.stdout:
        acknowledged = int(line)
        if acknowledged == 20:
            process.kill()
    await process.wait()
    store = await FolderStore(tmp_path / "objects").open()
    memory = await SqliteMemory(tmp_path / "memory").open()
    for number in range(acknowledged + 1):
        assert await store.get(f"t/{number}", 1000) == await memory.get(f"t/{number}") == b"x" * 1000
    assert {stored.size_bytes for stored in await store.list("")} == {1000}
    await memory.close()


async def test_opening_a_folder_removes_what_interrupted_writes_left(tmp_path: Path) -> None:
    staging = tmp_path / STAGING
    staging.mkdir()
    (staging / "old").touch()
    (staging / "new").touch()
    os.utime(staging / "old", (0, 0))
    store = await FolderStore(tmp_path).open()
    assert [left.name for left in staging.iterdir()] == ["new"]
    assert await store.list("") == []


async def test_a_folder_has_no_urls(tmp_path: Path) -> None:
    with pytest.raises(Unserved):
        await (await FolderStore(tmp_path).open()).presign("t/0", "GET", 60)


async def test_an_object_of_a_folder_does_not_lie_below_another(tmp_path: Path) -> None:
    store = await FolderStore(tmp_path).open()
    await store.put("t/object", b"", "x/y")
    with pytest.raises(InvalidInput):
        await store.put("t/object/below", b"", "x/y")
    assert await store.get("t/object", 0) == b""


async def test_a_damaged_memory_begins_anew(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    file.write_bytes(b"this is no database" * 1000)
    memory = await SqliteMemory(file).open()
    assert await memory.set("key", b"value", 10)
    assert await memory.get("key") == b"value"
    await memory.close()


async def test_a_closed_memory_is_unavailable(tmp_path: Path) -> None:
    memory = await SqliteMemory(tmp_path / "memory").open()
    await memory.close()
    with pytest.raises(Unavailable):
        await memory.get("key")


async def test_expired_values_leave_the_file(tmp_path: Path) -> None:
    memory = await SqliteMemory(tmp_path / "memory").open()
    for number in range(FORGET_EVERY_WRITES - 1):
        await memory.set(f"short-{number}", bytes(1000), 0.001)
    await asyncio.sleep(0.01)
    for number in range(FORGET_EVERY_WRITES):
        await memory.set(f"long-{number}", bytes(1000), 60)
    await memory.close()
    assert (tmp_path / "memory").stat().st_size < 1.7 * FORGET_EVERY_WRITES * 1000


async def test_a_full_bus_drops_what_is_finished_and_then_refuses() -> None:
    bus = MemoryBus(retained_bytes=100_000)
    consumer = await bus.consume([GENERATOR.topic], "llm")
    for _ in range(50):
        await bus.publish(GENERATOR.topic, "key", bytes(9000), {})
        consumer.finish(await anext(consumer))
    held: list[Record] = []
    with contextlib.suppress(Exhausted):
        while True:
            await bus.publish(GENERATOR.topic, "key", bytes(9000), {})
            held.append(await anext(consumer))
    assert 5 <= len(held) <= 10
    for record in held:
        consumer.finish(record)
    await bus.publish(GENERATOR.topic, "key", bytes(9000), {})
    await bus.close()


async def test_a_follower_behind_retention_is_told_so() -> None:
    bus = MemoryBus(retained_bytes=50_000)
    follower = bus.follow(REPLIES, since_ms=0)
    for _ in range(20):
        await bus.publish(REPLIES, "key", bytes(9000), {})
    with pytest.raises(OutOfRange):
        await anext(follower)


async def test_records_older_than_the_retention_are_dropped() -> None:
    bus = MemoryBus(topics={REPLIES: replace(TOPICS[REPLIES], partitions=1, retention_ms=50)})
    for number in range(32):
        await bus.publish(REPLIES, "key", str(number).encode(), {})
    await asyncio.sleep(0.1)
    for number in range(32, 64):
        await bus.publish(REPLIES, "key", str(number).encode(), {})
    assert (await anext(bus.follow(REPLIES, since_ms=0))).value == b"32"


async def test_an_in_process_hop_takes_tens_of_microseconds(capsys: pytest.CaptureFixture[str]) -> None:
    bus = MemoryBus()
    consumer = await bus.consume([GENERATOR.topic], "llm")

    async def echo() -> None:
        async for record in consumer:
            await bus.publish(REPLIES, record.key, record.value, record.headers)
            consumer.finish(record)

    echoing = asyncio.create_task(echo())
    follower = bus.follow(REPLIES)
    took = []
    for number in range(1000):
        began = time.perf_counter()
        await bus.publish(GENERATOR.topic, f"key-{number}", b"x" * 100, {"request": "1"})
        await anext(follower)
        took.append(time.perf_counter() - began)
    await bus.close()
    await echoing
    with capsys.disabled():
        print(f"\nMemoryBus: {sorted(took)[500] * 1e6 / 2:.0f} us a hop")


async def test_urls_of_another_kind_are_refused_by_field() -> None:
    wrong = ServiceSettings(bus="amqp://host", store="ftp://host/bucket", memory="memcached://host")
    for opening, field in ((open_bus, "bus"), (open_store, "store"), (open_memory, "memory")):
        with pytest.raises(InvalidInput) as refused:
            await opening(wrong)
        assert refused.value.field == field
    for url in (
        "s3://host:9000",
        "s3://host/bucket/deeper",
        "s3://host/bucket?region=x",
        "file://host/folder",
    ):
        with pytest.raises(InvalidInput):
            await open_store(ServiceSettings(store=url))


async def test_the_embedded_form_needs_no_infrastructure(tmp_path: Path) -> None:
    assert await create_infrastructure(ServiceSettings(data=tmp_path)) == []


def test_the_embedded_form_loads_no_vendor() -> None:
    loaded = subprocess.run([sys.executable, "-c", VENDORS], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
