"""The trainer: takes stages of recipes from its queue, one at a time, each in a process of its own."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Sequence

import grpc

from anygpt.main import Runtime
from anygpt.queue import QueueWorker, broker_url, open_queue
from services.trainer.settings import Settings

log = logging.getLogger(__name__)
RUN_STAGE = "anygpt.trainer.run_stage"
QUEUE = "anygpt-trainer"


class Trainer:
    """A queue worker. A stage that was under way when it died goes on from its checkpoint when delivered again."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._pack = runtime.pack.folder
        self._worker = QueueWorker(open_queue(broker_url(settings, settings.broker), QUEUE))
        self._process: subprocess.Popen[bytes] | None = None

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Nothing of its own: work comes from the queue."""
        return ()

    async def open(self) -> None:
        """Begin to take stages."""
        self._worker.open(RUN_STAGE, self._run_stage)

    def _run_stage(self, stage: str, minutes: float) -> None:
        command = [
            sys.executable,
            "-m",
            "anygpt",
            "train",
            "mini",
            "--stage",
            stage,
            "--minutes",
            str(minutes),
        ]
        command += ["--resume", "--cache", str(self._settings.cache.expanduser()), "--pack", str(self._pack)]
        self._process = subprocess.Popen(command)
        status = self._process.wait()
        self._process = None
        log.info("stage %s ended with status %d", stage, status)

    async def drain(self, seconds: float) -> None:
        """Stop the stage under way at its next checkpoint, and take no more."""
        if self._process is not None:
            self._process.terminate()
        await self._worker.drain()

    async def close(self) -> None:
        """Stop."""
        await self._worker.close()


def build(settings: Settings, runtime: Runtime) -> Trainer:
    """Build the trainer."""
    return Trainer(settings, runtime)
