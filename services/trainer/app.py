"""The trainer: takes orders from its queue, one at a time for each device, each in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NoReturn

import grpc

from anygpt.errors import AnyGPTError
from anygpt.main import Runtime
from anygpt.queue import QueueWorker, Redeliver, broker_url, enqueue, open_queue
from anygpt.whole import complete
from services.trainer.keeping import KeptOrders
from services.trainer.locking import taken
from services.trainer.order import HELD_S, LOG, PACK, QUEUE, RUNS, TAKE_ORDER, Order, told_in
from services.trainer.settings import Settings

log = logging.getLogger(__name__)
KEEP_S = 60.0
"""Between two copies of an order's folder into the store."""
AGAIN_S = 5.0
"""Between two tries of what has to be done."""
LOOK_S = 1.0
"""Between two looks whether the device is free."""
COPYING, LEAVING = 0.6, 0.8
"""Shares of a shutdown: when the process has ended, and, of what is left, when the copy into the store has."""


class Trainer:
    """A queue worker. An order that did not end is delivered again, and goes on from its checkpoints wherever it is."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._pack = runtime.pack.folder
        self._settings = settings
        self._environment = settings.environment()
        self._queue = open_queue(broker_url(settings, settings.broker), QUEUE, HELD_S)
        self._worker = QueueWorker(self._queue)
        self._cache = settings.cache.expanduser()
        self._orders = self._cache / "orders"
        self._kept = KeptOrders(runtime.store, self._orders)
        self._locks: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._copying: Future[object] | None = None
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
        try:
            with self._alone_with(order_id), self._alone_on_the_device():
                order = self._done(order, self._orders / order_id)
        except Redeliver:
            raise
        except Exception as error:
            # A full disk, or what nobody foresaw: there may be room later, or elsewhere.
            log.exception("order %s cannot go on", order_id)
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
            self._leave(order, folder)
        if status >= 0:
            return order.now("failed" if status else "done", folder)
        order = order.killed(folder)
        if order.is_open:
            log.warning("order %s: a signal killed its process, kill %d", order.order_id, order.kills)
            self._leave(order, folder)
        return order

    def _leave(self, order: Order, folder: Path) -> NoReturn:
        """Leave an order as far as it is to whoever takes it next."""
        if self._copied(self._kept.keep(order.order_id)):
            shutil.rmtree(folder, ignore_errors=True)
        self._rest(AGAIN_S)
        raise Redeliver(requeue=True)

    def _learned(self, order: Order, folder: Path) -> int:
        """The exit status of the process that learns."""
        with (folder / LOG).open("ab") as told:
            process = subprocess.Popen(
                self._command(order, folder),
                stdout=told,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=self._locks,
            )
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
        kind, threads = self._settings.place[0], str(self._settings.threads)
        command = [sys.executable, "-m", "anygpt", "train", "mini", "--resume", "--device", kind]
        command += ["--threads", threads]
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
        """Whether a copy into the store or from it was made; neither a store nor a disk that fails ends an order.

        Raises Redeliver when a shutdown gives the copy up.
        """
        assert self._loop is not None
        self._copying = copying = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            while not wait([copying], KEEP_S).done:
                self._worker.hold()
            copying.result()
        except CancelledError:
            raise Redeliver(requeue=True) from None
        except (AnyGPTError, OSError) as error:
            log.warning("the order's folder was not copied: %s", error)
            return False
        finally:
            self._copying = None
        return True

    def _rest(self, seconds: float) -> None:
        """Wait with an order in hand. Raises Redeliver when the trainer is to stop."""
        if self._worker.is_draining:
            raise Redeliver(requeue=True)
        self._worker.hold()
        time.sleep(seconds)

    @contextmanager
    def _alone_with(self, order_id: str) -> Iterator[None]:
        """Be the only trainer of this cache with an order. Raises Redeliver where another has it."""
        with self._lock_file(order_id) as lock:
            if not taken(lock):
                log.info("order %s is under way already", order_id)
                self._rest(AGAIN_S)
                raise Redeliver(requeue=True)
            yield

    @contextmanager
    def _alone_on_the_device(self) -> Iterator[None]:
        """Wait until no other trainer of this cache uses the device."""
        kind, index = self._settings.place
        with self._lock_file(f"{kind}:{index}") as lock:
            while not taken(lock):
                self._rest(LOOK_S)
            yield

    @contextmanager
    def _lock_file(self, name: str) -> Iterator[IO[str]]:
        """A file to lock, which the process that learns has open too: it may outlive a trainer that is killed."""
        folder = self._cache / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.lock").open("w") as lock:
            self._locks.append(lock.fileno())
            try:
                yield lock
            finally:
                self._locks.remove(lock.fileno())

    async def drain(self, seconds: float) -> None:
        """Stop the order under way at its next step, leave it to the queue, and take no more."""
        end = time.monotonic() + seconds
        self._worker.refuse()
        if (process := self._process) is not None:
            process.terminate()
            try:
                # The rest is for its folder's way into the store.
                await asyncio.to_thread(process.wait, COPYING * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        left = end - time.monotonic()
        giving_up = asyncio.get_running_loop().call_later(LEAVING * left, self._give_up)
        await self._worker.drain(left)
        giving_up.cancel()

    def _give_up(self) -> None:
        """End a copy that would outlast the store."""
        if (copying := self._copying) is not None:
            copying.cancel()

    async def close(self) -> None:
        """Stop."""
        await self._worker.close()


def build(settings: Settings, runtime: Runtime) -> Trainer:
    """Build the trainer."""
    return Trainer(settings, runtime)
