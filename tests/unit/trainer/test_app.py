from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from anygpt.main import Runtime
from anygpt.queue import open_queue
from anygpt.store_folder import FolderStore
from services.trainer.app import QUEUE, RUN_STAGE, Trainer
from services.trainer.curve import Curve
from services.trainer.keeping import KeptRuns
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


@pytest.mark.integration
@pytest.mark.timeout(600)
async def test_a_stage_that_a_shutdown_stops_is_taken_up_by_another_trainer_where_it_was(
    settings: Settings, runtime: Runtime
) -> None:
    queue = open_queue(settings.broker, QUEUE)
    queue.send_task(RUN_STAGE, args=(STAGE, 0.5))
    runs = settings.cache / "runs"
    async with trainer(settings, runtime):
        await until(lambda: len(Curve(runs / RUN).rows()) > 0)
    stopped = Curve(runs / RUN).rows()
    assert (runs / RUN / "checkpoint.safetensors").exists()
    shutil.rmtree(runs)
    async with trainer(settings, runtime):
        await until((runs / RUN / "loss.png").exists)
    assert Curve(runs / RUN).rows()[: len(stopped)] == stopped
    queue.close()


async def test_the_store_keeps_what_a_run_has_learned(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "codec").mkdir(parents=True)
    (here / "codec" / "checkpoint.safetensors").write_bytes(b"first")
    (here / "codec" / "checkpoint.unfinished").write_bytes(b"half")
    store = await FolderStore(tmp_path / "store").open()
    kept = KeptRuns(store, here)
    await kept.keep()
    await KeptRuns(store, there).fetch()
    assert [path.name for path in (there / "codec").iterdir()] == ["checkpoint.safetensors"]
    (here / "codec" / "checkpoint.safetensors").write_bytes(b"second")
    await kept.keep()
    shutil.rmtree(there)
    await KeptRuns(store, there).fetch()
    assert (there / "codec" / "checkpoint.safetensors").read_bytes() == b"second"
    await store.close()
