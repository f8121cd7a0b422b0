"""The trainer: takes stages of recipes from its queue, one at a time, each in a process of its own."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import grpc

from anygpt.errors import Unavailable
from anygpt.main import Runtime
from anygpt.queue import QueueWorker, Redeliver, broker_url, open_queue
from services.trainer.keeping import KeptRuns
from services.trainer.settings import Settings

log = logging.getLogger(__name__)
RUN_STAGE = "anygpt.trainer.run_stage"
QUEUE = "anygpt-trainer"
KEEP_S = 60.0
"""Between two copies of a run into the store."""
STOP_S = 60.0
"""For a stage to write its checkpoint when it is told to stop."""


class Trainer:
    """A queue worker. A stage that did not end is delivered again, and goes on from its checkpoint wherever it is."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._pack = runtime.pack.folder
        self._device = settings.device.partition(":")[0]
        self._worker = QueueWorker(open_queue(broker_url(settings, settings.broker), QUEUE))
        self._cache = settings.cache.expanduser()
        self._kept = KeptRuns(runtime.store, self._cache / "runs")
        self._process: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Nothing of its own: work comes from the queue."""
        return ()

    async def open(self) -> None:
        """Begin to take stages."""
        self._loop = asyncio.get_running_loop()
        self._worker.open(RUN_STAGE, self._run_stage)

    def _run_stage(self, stage: str, minutes: float) -> None:
        """In the queue's thread. Raises Redeliver when the stage was stopped before its end."""
        with self._alone_on_the_device():
            self._copy("fetch")
            self._process = subprocess.Popen(self._command(stage, minutes))
            if self._worker.is_draining:
                self._process.terminate()
            status = self._waited(self._process)
            self._process = None
            self._copy("keep")
        if self._worker.is_draining and status:
            raise Redeliver(requeue=True)
        log.info("stage %s ended with status %d", stage, status)

    def _command(self, stage: str, minutes: float) -> list[str]:
        command = [sys.executable, "-m", "anygpt", "train", "mini", "--stage", stage, "--resume"]
        command += ["--minutes", str(minutes), "--device", self._device]
        return [*command, "--cache", str(self._cache), "--pack", str(self._pack)]

    def _waited(self, process: subprocess.Popen[bytes]) -> int:
        """The exit status of a stage, whose run is copied into the store every now and then."""
        while True:
            try:
                return process.wait(KEEP_S)
            except subprocess.TimeoutExpired:
                self._copy("keep")

    def _copy(self, way: str) -> None:
        """Into the store or from it; a store that does not answer ends no stage."""
        assert self._loop is not None
        work = self._kept.fetch() if way == "fetch" else self._kept.keep()
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except Unavailable as error:
            log.warning("runs were not copied: %s", error.message)

    @contextmanager
    def _alone_on_the_device(self) -> Iterator[None]:
        """Wait until no other trainer on this machine uses the device."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / f"{self._device}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    async def drain(self, seconds: float) -> None:
        """Stop the stage under way at its next checkpoint, leave it to the queue, and take no more."""
        self._worker.refuse()
        if (process := self._process) is not None:
            process.terminate()
            try:
                await asyncio.to_thread(process.wait, STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
        await self._worker.drain(seconds)

    async def close(self) -> None:
        """Stop."""
        await self._worker.close()


def build(settings: Settings, runtime: Runtime) -> Trainer:
    """Build the trainer."""
    return Trainer(settings, runtime)
