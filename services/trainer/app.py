"""The trainer: takes orders from its queue, one at a time for each device, each in a process of its own."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import shutil
import subprocess
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from anygpt.errors import Unavailable
from anygpt.main import Runtime
from anygpt.queue import QueueWorker, Redeliver, broker_url, open_queue
from services.trainer.keeping import KeptOrders
from services.trainer.order import LOG, PACK, QUEUE, RUNS, TAKE_ORDER, Order
from services.trainer.settings import Settings
from services.trainer.whole import copied_whole

log = logging.getLogger(__name__)
KEEP_S = 60.0
"""Between two copies of an order's folder into the store."""
STOP_S = 60.0
"""For a stage to write its checkpoint when it is told to stop."""


class Trainer:
    """A queue worker. An order that did not end is delivered again, and goes on from its checkpoints wherever it is."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._pack = runtime.pack.folder
        self._device = settings.device.partition(":")[0]
        self._worker = QueueWorker(open_queue(broker_url(settings, settings.broker), QUEUE))
        self._cache = settings.cache.expanduser()
        self._orders = self._cache / "orders"
        self._kept = KeptOrders(runtime.store, self._orders)
        self._process: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Nothing of its own: work comes from the queue."""
        return ()

    async def open(self) -> None:
        """Begin to take orders."""
        self._loop = asyncio.get_running_loop()
        self._worker.open(TAKE_ORDER, self._take)

    def _take(self, order_id: str, stage: str, minutes: float | None) -> None:
        """In the queue's thread. Raises Redeliver when the order was stopped before its end."""
        order = Order(order_id=order_id, stage=stage, minutes=minutes)
        folder = self._orders / order_id
        with self._alone_on_the_device():
            self._copied(self._kept.fetch(order_id))
            order = order.as_told(folder)
            if order.is_open:
                order = self._run(order.now("running", folder), folder)
            # What the store has is not needed here any more.
            if self._copied(self._kept.keep(order_id)):
                shutil.rmtree(folder)
        log.log(
            logging.WARNING if order.state == "failed" else logging.INFO,
            "order %s: %s",
            order_id,
            order.state,
        )

    def _run(self, order: Order, folder: Path) -> Order:
        """Let a process learn to its end. One stage goes on from the pack that is served."""
        if order.stage and not (folder / PACK).exists():
            copied_whole(self._pack, folder / PACK)
        status = self._learned(order, folder)
        if status and self._worker.is_draining:
            self._copied(self._kept.keep(order.order_id))
            raise Redeliver(requeue=True)
        return order.now("failed" if status else "done", folder)

    def _learned(self, order: Order, folder: Path) -> int:
        with (folder / LOG).open("ab") as told:
            self._process = subprocess.Popen(
                self._command(order, folder), stdout=told, stderr=subprocess.STDOUT
            )
            if self._worker.is_draining:
                self._process.terminate()
            status = self._waited(self._process, order.order_id)
        self._process = None
        return status

    def _command(self, order: Order, folder: Path) -> list[str]:
        command = [sys.executable, "-m", "anygpt", "train", "mini", "--resume", "--device", self._device]
        command += ["--stage", order.stage] if order.stage else []
        command += ["--minutes", str(order.minutes)] if order.minutes else []
        return [
            *command,
            *("--cache", str(self._cache)),
            *("--pack", str(folder / PACK)),
            *("--runs", str(folder / RUNS)),
        ]

    def _waited(self, process: subprocess.Popen[bytes], order_id: str) -> int:
        """The exit status of a process, during which the folder is copied into the store every now and then."""
        while True:
            try:
                return process.wait(KEEP_S)
            except subprocess.TimeoutExpired:
                self._copied(self._kept.keep(order_id))

    def _copied(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether a copy into the store or from it was made; a store that does not answer ends no order."""
        assert self._loop is not None
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except Unavailable as error:
            log.warning("the order's folder was not copied: %s", error.message)
            return False
        return True

    @contextmanager
    def _alone_on_the_device(self) -> Iterator[None]:
        """Wait until no other trainer on this machine uses the device."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / f"{self._device}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    async def drain(self, seconds: float) -> None:
        """Stop the order under way at its next checkpoint, leave it to the queue, and take no more."""
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
