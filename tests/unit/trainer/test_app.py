from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from anygpt.main import Runtime
from anygpt.queue import enqueue, open_queue
from anygpt.store_folder import FolderStore
from services.trainer.app import Trainer
from services.trainer.curve import Curve
from services.trainer.keeping import KeptOrders
from services.trainer.order import FILE, LOG, PACK, QUEUE, RUNS, TAKE_ORDER, Order
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


@asynccontextmanager
async def trainer(settings: Settings, runtime: Runtime) -> AsyncIterator[Trainer]:
    """A trainer that takes stages; leaving it drains it, as a shutdown does."""
    served = Trainer(settings, runtime)
    await served.open()
    try:
        yield served
    finally:
        await served.drain(5.0)
        await served.close()


def curve(folder: Path) -> Curve:
    return Curve(folder / RUNS / STAGE / RUN)


@pytest.mark.integration
@pytest.mark.timeout(600)
async def test_an_order_that_a_shutdown_stops_is_taken_up_by_another_trainer_where_it_was(
    settings: Settings, runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    queue, order = open_queue(settings.broker, QUEUE), Order(stage=STAGE, minutes=0.5)
    await enqueue(queue, TAKE_ORDER, order.order_id, order.stage, order.minutes)
    folder, served = settings.cache / "orders" / order.order_id, Path(settings.pack) / "manifest.json"
    before = served.read_bytes()
    async with trainer(settings, runtime):
        await until(lambda: len(curve(folder).rows()) > 0)
    stopped = curve(folder).rows()
    assert (curve(folder).folder / "checkpoint.safetensors").exists()
    shutil.rmtree(folder)
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
    queue, orders = open_queue(settings.broker, QUEUE), [Order(stage="no.stage"), Order(stage="still.none")]
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
