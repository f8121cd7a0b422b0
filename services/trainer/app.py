"""The trainer: takes orders from its queue, one at a time for each device, each in a process of its own."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import grpc

from anygpt.errors import AnyGPTError
from anygpt.main import Runtime
from anygpt.queue import QueueWorker, Redeliver, broker_url, enqueue, open_queue
from services.trainer.keeping import KeptOrders
from services.trainer.order import HELD_S, LOG, PACK, QUEUE, RUNS, TAKE_ORDER, Order, told_in
from services.trainer.settings import Settings
from services.trainer.whole import complete

log = logging.getLogger(__name__)
KEEP_S = 60.0
"""Between two copies of an order's folder into the store."""
AGAIN_S = 5.0
"""Between two tries of what has to be done."""
LOOK_S = 1.0
"""Between two looks whether the device is free."""


class Trainer:
    """A queue worker. An order that did not end is delivered again, and goes on from its checkpoints wherever it is."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._pack = runtime.pack.folder
        self._device = settings.device.partition(":")[0]
        self._queue = open_queue(broker_url(settings, settings.broker), QUEUE, HELD_S)
        self._worker = QueueWorker(self._queue)
        self._cache = settings.cache.expanduser()
        self._orders = self._cache / "orders"
        self._kept = KeptOrders(runtime.store, self._orders)
        self._process: subprocess.Popen[bytes] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def mount(self, server: grpc.aio.Server) -> Sequence[str]:
        """Nothing of its own: work comes from the queue."""
        return ()

    async def open(self) -> None:
        """Begin to take orders; first those that a kill left here, where the broker does not give them back."""
        self._loop = asyncio.get_running_loop()
        if not self._worker.gives_back:
            for folder in sorted(self._orders.glob("*")):
                if (left := told_in(folder)) and left.is_open:
                    await enqueue(self._queue, TAKE_ORDER, left.order_id, left.stage, left.minutes)
        self._worker.open(TAKE_ORDER, self._take)

    def _take(self, order_id: str, stage: str, minutes: float | None) -> None:
        """In the queue's thread. Raises Redeliver when the order was stopped before its end."""
        order = Order(order_id=order_id, stage=stage, minutes=minutes)
        with self._alone_on_the_device():
            try:
                order = self._done(order, self._orders / order_id)
            except OSError as error:
                # A full disk: there may be room later, or elsewhere.
                log.warning("order %s cannot go on: %s", order_id, error)
                self._rest(AGAIN_S)
                raise Redeliver(requeue=True) from error
        level = logging.WARNING if order.state == "failed" else logging.INFO
        log.log(level, "order %s: %s", order_id, order.state)

    def _done(self, order: Order, folder: Path) -> Order:
        """Go on with an order as the store has it, and let the store have its end before it is gone from here."""
        self._surely(lambda: self._kept.fetch(order.order_id))
        order = told_in(folder) or order
        if order.is_open:
            order = self._run(order.now("running", folder), folder)
        self._surely(lambda: self._kept.keep(order.order_id))
        shutil.rmtree(folder, ignore_errors=True)
        return order

    def _run(self, order: Order, folder: Path) -> Order:
        """Let a process learn to its end. One stage goes on from the pack that is served."""
        if order.stage:
            complete(folder / PACK, self._pack)
        status = self._learned(order, folder)
        if status and self._worker.is_draining:
            if self._copied(self._kept.keep(order.order_id)):
                shutil.rmtree(folder, ignore_errors=True)
            raise Redeliver(requeue=True)
        return order.now("failed" if status else "done", folder)

    def _learned(self, order: Order, folder: Path) -> int:
        """The exit status of the process that learns."""
        with (folder / LOG).open("ab") as told:
            process = subprocess.Popen(self._command(order, folder), stdout=told, stderr=subprocess.STDOUT)
        self._process = process
        try:
            if self._worker.is_draining:
                process.terminate()
            return self._waited(process, order.order_id)
        finally:
            process.kill()
            process.wait()
            self._process = None

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
                self._worker.hold()
                self._copied(self._kept.keep(order_id))

    def _surely(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Copy into the store or from it, however long it takes. Raises Redeliver when the trainer is to stop."""
        while not self._copied(work()):
            self._rest(AGAIN_S)

    def _copied(self, work: Coroutine[Any, Any, object]) -> bool:
        """Whether a copy into the store or from it was made; neither a store nor a disk that fails ends an order."""
        assert self._loop is not None
        try:
            asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except (AnyGPTError, OSError) as error:
            log.warning("the order's folder was not copied: %s", error)
            return False
        return True

    def _rest(self, seconds: float) -> None:
        """Wait with an order in hand. Raises Redeliver when the trainer is to stop."""
        if self._worker.is_draining:
            raise Redeliver(requeue=True)
        self._worker.hold()
        time.sleep(seconds)

    @contextmanager
    def _alone_on_the_device(self) -> Iterator[None]:
        """Wait until no other trainer on this machine uses the device."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / f"{self._device}.lock").open("w") as lock:
            while not _locked(lock):
                self._rest(LOOK_S)
            yield

    async def drain(self, seconds: float) -> None:
        """Stop the order under way at its next step, leave it to the queue, and take no more."""
        end = time.monotonic() + seconds
        self._worker.refuse()
        if (process := self._process) is not None:
            process.terminate()
            try:
                # The rest is for its folder's way into the store.
                await asyncio.to_thread(process.wait, 0.6 * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        await self._worker.drain(end - time.monotonic())

    async def close(self) -> None:
        """Stop."""
        await self._worker.close()


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def build(settings: Settings, runtime: Runtime) -> Trainer:
    """Build the trainer."""
    return Trainer(settings, runtime)
