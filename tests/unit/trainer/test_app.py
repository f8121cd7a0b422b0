from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from anygpt.errors import InvalidInput, Unavailable
from anygpt.main import Runtime
from anygpt.queue import enqueue, open_queue
from anygpt.store import Store
from anygpt.store_folder import FolderStore
from anygpt.whole import complete
from services.trainer import app
from services.trainer.app import Trainer
from services.trainer.curve import Curve
from services.trainer.keeping import KeptOrders
from services.trainer.order import (
    FILE,
    HELD_S,
    LOG,
    MOST_KILLS,
    PACK,
    QUEUE,
    RUNS,
    TAKE_ORDER,
    Order,
    told_in,
)
from services.trainer.settings import Settings
from tests.unit.trainer.tiny_data import write_tiny_data

STAGE, RUN = "speech.pronouncer", "speech_pronouncer"


async def until(holds: Callable[[], bool], seconds: float = 240.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.2)


@pytest.fixture
def settings(media_pack: Path, tmp_path: Path, redis: str) -> Settings:
    """A trainer with tiny data, a pack to write to, and its queue in Redis."""
    shutil.copytree(media_pack, tmp_path / "pack")
    write_tiny_data(tmp_path / "cache")
    return Settings(
        pack=str(tmp_path / "pack"), data=tmp_path / "data", cache=tmp_path / "cache", broker=redis
    )


@pytest.fixture
def bare(media_pack: Path, tmp_path: Path, redis: str) -> Settings:
    """A trainer for orders that do not come to learn anything."""
    return Settings(pack=str(media_pack), data=tmp_path / "data", cache=tmp_path / "cache", broker=redis)


async def ordered(settings: Settings, order: Order) -> Path:
    """Put an order into the queue; gives its folder below the cache."""
    queue = open_queue(settings.broker, QUEUE, HELD_S)
    await enqueue(queue, TAKE_ORDER, order.order_id, order.stage, order.minutes)
    queue.close()
    return settings.cache / "orders" / order.order_id


class OtherStore:
    """A store in front of another."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class AwayStore(OtherStore):
    """One that can be away."""

    is_away = True

    def __getattr__(self, name: str) -> Any:
        if self.is_away:
            raise Unavailable("the store is away")
        return super().__getattr__(name)


class BrokenStore(OtherStore):
    """One that is closed under the first who asks it."""

    is_closed = True

    def __getattr__(self, name: str) -> Any:
        if self.is_closed:
            self.is_closed = False
            raise RuntimeError("the store is closed")
        return super().__getattr__(name)


class SlowStore(OtherStore):
    """One that takes longer to keep a file than anybody waits."""

    is_asked = False

    async def put(self, key: str, source: bytes | Path, media_type: str, *, if_absent: bool = False) -> bool:
        self.is_asked = True
        await asyncio.sleep(3600)
        return True


class RecordingStore(OtherStore):
    """One that tells what was put into it."""

    def __init__(self, store: Store, keys: list[str]) -> None:
        super().__init__(store)
        self._keys = keys

    async def put(self, key: str, source: bytes | Path, media_type: str, *, if_absent: bool = False) -> bool:
        self._keys.append(key)
        return await self._store.put(key, source, media_type, if_absent=if_absent)


@asynccontextmanager
async def trainer(settings: Settings, runtime: Runtime) -> AsyncIterator[Trainer]:
    """A trainer that takes stages; leaving it drains it, as a shutdown does."""
    served = Trainer(settings, runtime)
    await served.open()
    try:
        yield served
    finally:
        await served.drain(30.0)
        await served.close()


def curve(folder: Path) -> Curve:
    return Curve(folder / RUNS / STAGE / RUN)


@pytest.mark.integration
@pytest.mark.timeout(600)
async def test_an_order_that_a_shutdown_stops_is_taken_up_by_another_trainer_where_it_was(
    settings: Settings, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    queue, order = open_queue(settings.broker, QUEUE, HELD_S), Order(stage=STAGE, minutes=1.0)
    await enqueue(queue, TAKE_ORDER, order.order_id, order.stage, order.minutes)
    folder, served = settings.cache / "orders" / order.order_id, Path(settings.pack) / "manifest.json"
    before = served.read_bytes()
    async with trainer(settings, runtime):
        await until(lambda: len(curve(folder).rows()) > 0)
    # What the store has is left nowhere, where it would be older than what another makes of it.
    assert not folder.exists()
    left = settings.cache / "left"
    await KeptOrders(runtime.store, left).fetch(order.order_id)
    stopped = curve(left / order.order_id).rows()
    assert stopped
    assert (curve(left / order.order_id).folder / "checkpoint.safetensors").exists()
    caplog.set_level(logging.INFO)
    ended = f"order {order.order_id}: done"
    async with trainer(settings, runtime):
        await until(lambda: ended in caplog.text)
    assert not folder.exists()
    brought = settings.cache / "brought"
    assert await KeptOrders(runtime.store, brought).fetch(order.order_id)
    brought /= order.order_id
    assert Order.model_validate_json((brought / FILE).read_text()).state == "done"
    assert curve(brought).rows()[: len(stopped)] == stopped
    assert len(curve(brought).rows()) > len(stopped)
    assert (brought / PACK / RUN / "diffusion_pytorch_model.safetensors").exists()
    assert f"stage {STAGE} took" in (brought / LOG).read_text()
    assert served.read_bytes() == before
    # The broker may deliver once more what has ended.
    await enqueue(queue, TAKE_ORDER, order.order_id, order.stage, order.minutes)
    caplog.clear()
    async with trainer(settings, runtime):
        await until(lambda: ended in caplog.text)
    again = settings.cache / "again"
    await KeptOrders(runtime.store, again).fetch(order.order_id)
    assert curve(again / order.order_id).rows() == curve(brought).rows()
    assert (again / order.order_id / LOG).read_text() == (brought / LOG).read_text()
    queue.close()


@pytest.mark.integration
@pytest.mark.timeout(600)
async def test_an_order_that_cannot_be_done_fails_with_its_log_in_the_store_and_the_next_one_is_taken(
    settings: Settings, runtime: Runtime
) -> None:
    queue, orders = (
        open_queue(settings.broker, QUEUE, HELD_S),
        [Order(stage="no.stage"), Order(stage="still.none")],
    )
    for order in orders:
        await enqueue(queue, TAKE_ORDER, order.order_id, order.stage, order.minutes)
    kept = KeptOrders(runtime.store, settings.cache / "brought")
    async with trainer(settings, runtime):
        for order in orders:
            found = settings.cache / "brought" / order.order_id / FILE
            async with asyncio.timeout(120):
                while not (found.exists() and '"failed"' in found.read_text()):
                    await asyncio.sleep(0.5)
                    await kept.fetch(order.order_id)
            assert f"there is no stage '{order.stage}'" in (found.parent / LOG).read_text()
    queue.close()


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_the_end_of_an_order_waits_for_a_store_that_is_away(
    settings: Settings, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    queue, order = open_queue(settings.broker, QUEUE, HELD_S), Order(stage="no.stage")
    away = AwayStore(runtime.store)
    await enqueue(queue, TAKE_ORDER, order.order_id, order.stage, order.minutes)
    async with trainer(settings, replace(runtime, store=away)):
        await until(lambda: "not copied" in caplog.text)
        assert not (settings.cache / "orders" / order.order_id / LOG).exists()
        away.is_away = False
        await until((settings.cache / "orders" / order.order_id / LOG).exists)
        away.is_away = True
        await until(
            lambda: (
                told_in(settings.cache / "orders" / order.order_id)
                == order.model_copy(update={"state": "failed"})
            )
        )
        caplog.clear()
        await until(lambda: "not copied" in caplog.text)
        away.is_away = False
        await until(lambda: not (settings.cache / "orders" / order.order_id).exists())
    await KeptOrders(runtime.store, settings.cache / "brought").fetch(order.order_id)
    found = told_in(settings.cache / "brought" / order.order_id)
    assert found is not None
    assert found.state == "failed"
    queue.close()


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_an_order_that_meets_what_nobody_foresaw_is_taken_again(
    bare: Settings, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    order = Order(stage="no.stage")
    await ordered(bare, order)
    async with trainer(bare, replace(runtime, store=BrokenStore(runtime.store))):
        await until(lambda: f"order {order.order_id} cannot go on" in caplog.text)
        await until(lambda: f"order {order.order_id}: failed" in caplog.text)


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_a_copy_that_outlasts_a_shutdown_is_given_up_and_its_order_left_to_the_next_trainer(
    bare: Settings, runtime: Runtime, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "KEEP_S", 0.5)
    order, slow = Order(stage="no.stage"), SlowStore(runtime.store)
    await ordered(bare, order)
    served = Trainer(bare, replace(runtime, store=slow))
    await served.open()
    await until(lambda: slow.is_asked)
    with Redis.from_url(bare.broker) as broker:

        def held() -> float:
            [(_, at)] = broker.zrange(f"{QUEUE}:unacked-index", 0, -1, withscores=True)
            return float(at)

        # Others leave it alone, however long the copy takes.
        before = held()
        await until(lambda: held() > before, 20)
    began = time.monotonic()
    await served.drain(6.0)
    await served.close()
    assert time.monotonic() - began < 11
    async with trainer(bare, runtime):
        await until(lambda: f"order {order.order_id}: failed" in caplog.text)


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_an_order_that_another_trainer_of_the_cache_has_waits_in_the_queue(
    bare: Settings, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    order, other = Order(stage="no.stage"), Trainer(bare, runtime)
    async with trainer(bare, runtime):
        with other._alone_with(order.order_id):
            folder = await ordered(bare, order)
            await until(lambda: f"order {order.order_id} is under way already" in caplog.text)
            assert not folder.exists()
        await until(lambda: f"order {order.order_id}: failed" in caplog.text)


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_an_order_whose_process_is_killed_is_taken_again_and_fails_when_that_goes_on(
    bare: Settings, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    order = Order(stage=STAGE)
    await ordered(bare, order)
    async with trainer(bare, runtime) as served:
        for kill in range(MOST_KILLS):
            assert f"kill {kill + 1}" not in caplog.text
            await until(lambda: served._process is not None)
            assert served._process is not None
            os.kill(served._process.pid, signal.SIGKILL)
            await until(lambda: served._process is None)
        await until(lambda: f"order {order.order_id}: failed" in caplog.text)
    await KeptOrders(runtime.store, bare.cache / "brought").fetch(order.order_id)
    assert told_in(bare.cache / "brought" / order.order_id) == order.model_copy(
        update={"state": "failed", "kills": MOST_KILLS}
    )


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_the_process_of_an_order_has_the_threads_the_device_and_the_locks_of_its_trainer(
    bare: Settings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    order = Order(stage=STAGE)
    async with trainer(bare.model_copy(update={"device": "cuda:1", "threads": 3}), runtime) as served:
        await ordered(bare, order)
        await until(lambda: served._process is not None)
        assert served._process is not None
        process = Path("/proc") / str(served._process.pid)
        command = (process / "cmdline").read_text().split("\0")
        seen = (process / "environ").read_text().split("\0")
        locks = {path.readlink().name for path in (process / "fd").iterdir()}
    assert command[command.index("--device") + 1] == "cuda"
    assert command[command.index("--threads") + 1] == "3"
    assert "CUDA_VISIBLE_DEVICES=7" in seen
    assert {f"{order.order_id}.lock", "cuda:1.lock"} <= locks
    # What the shutdown gave back is left to nobody.
    with Redis.from_url(bare.broker) as broker:
        broker.delete(QUEUE)


async def test_a_trainer_refuses_a_device_that_it_does_not_see(
    bare: Settings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with pytest.raises(InvalidInput):
        Trainer(bare.model_copy(update={"device": "cuda:2"}), runtime)


# Kombu's tables, for SQLAlchemy of today.
@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated")
async def test_an_order_that_a_kill_left_is_taken_again_where_the_broker_gives_nothing_back(
    media_pack: Path, tmp_path: Path, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(pack=str(media_pack), data=tmp_path / "data", cache=tmp_path / "cache")
    (tmp_path / "data").mkdir()
    left, ended = Order(stage="no.stage"), Order(stage="no.other")
    left.now("running", settings.cache / "orders" / left.order_id)
    ended.now("done", settings.cache / "orders" / ended.order_id)
    caplog.set_level(logging.INFO)
    async with trainer(settings, runtime):
        await until(lambda: f"order {left.order_id}: failed" in caplog.text)
    assert ended.order_id not in caplog.text


def test_a_pack_that_was_copied_in_part_gets_what_it_lacks(tmp_path: Path) -> None:
    source, folder = tmp_path / "source", tmp_path / "folder"
    for name, text in (("a/one", "1"), ("a/two", "2"), ("three", "3")):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "one").write_text("learned")
    complete(folder, source)
    told = {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }
    assert told == {"a/one": "learned", "a/two": "2", "three": "3"}


async def test_an_order_says_that_it_is_done_only_when_all_of_it_is_in_the_store(tmp_path: Path) -> None:
    store = await FolderStore(tmp_path / "store").open()
    here, order, put = tmp_path / "here", Order(order_id="one"), list[str]()
    order.now("done", here / "one")
    for name in ("pack/manifest.json", "zebra.txt", ".tmpAbC", "no key.txt"):
        (here / "one" / name).parent.mkdir(exist_ok=True)
        (here / "one" / name).write_text(name)
    kept = KeptOrders(RecordingStore(store, put), here)
    await kept.keep("one")
    assert put == [f"trainer/one/{name}" for name in ("pack/manifest.json", "zebra.txt", FILE)]
    there = KeptOrders(RecordingStore(store, put := []), tmp_path / "there")
    assert await there.fetch("one") == 3
    await there.keep("one")
    assert put == []
    await store.close()


async def test_the_clock_of_the_store_alone_tells_what_is_newer(tmp_path: Path) -> None:
    store = await FolderStore(tmp_path / "store").open()
    await store.put("trainer/one/log.txt", b"first", "text/plain")
    path, kept = tmp_path / "one" / "log.txt", KeptOrders(store, tmp_path)
    await kept.fetch("one")
    # A clock that is ahead dates nothing that was brought.
    assert path.stat().st_mtime <= time.time()
    [stored] = await store.list("trainer/one/")
    assert path.stat().st_mtime_ns == stored.modified_ms * 1_000_000
    await asyncio.sleep(0.01)
    await store.put("trainer/one/log.txt", b"second", "text/plain")
    await kept.fetch("one")
    assert path.read_bytes() == b"second"
    await store.close()


async def test_the_store_keeps_what_an_order_has_made(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    codec = Path("one") / RUNS / "codec" / "checkpoint.safetensors"
    (here / codec).parent.mkdir(parents=True)
    (here / codec).write_bytes(b"first")
    (here / codec).with_suffix(".unfinished").write_bytes(b"half")
    store = await FolderStore(tmp_path / "store").open()
    kept, other = KeptOrders(store, here), KeptOrders(store, there)
    await kept.keep("one")
    assert await other.fetch("one") == 1
    assert await other.fetch("another") == 0
    assert (there / codec).read_bytes() == b"first"
    assert [path.name for path in (there / codec).parent.iterdir()] == [codec.name]
    await asyncio.sleep(0.01)
    (there / codec).write_bytes(b"second")
    await other.keep("one")
    await kept.fetch("one")
    assert (here / codec).read_bytes() == b"second"
    await asyncio.sleep(0.01)
    (here / codec).write_bytes(b"third, which the store has not seen")
    await kept.fetch("one")
    assert (here / codec).read_bytes() == b"third, which the store has not seen"
    await store.close()
