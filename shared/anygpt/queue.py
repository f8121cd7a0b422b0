"""The work queue of long tasks: the only importer of Celery."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import Celery
from celery.exceptions import Reject, WorkerShutdown
from kombu.exceptions import OperationalError

from anygpt.errors import Unavailable
from anygpt.settings import ServiceSettings

log = logging.getLogger(__name__)
HARD_LIMIT_S = 24 * 3600.0
JOIN_S = 5.0
"""For a worker without a task to leave its broker; one whose broker is away is not waited for."""
ONE_RETRY = {"max_retries": 1, "interval_start": 0.1}
Queue = Celery
Redeliver = Reject
"""Raised by a task that did not end: with `requeue` another worker takes it."""


def broker_url(settings: ServiceSettings, broker: str) -> str:
    """The broker: as set, else the Redis that is the memory, else a file below the data folder."""
    if broker:
        return broker
    if settings.memory_url.startswith(("redis://", "rediss://")):
        return settings.memory_url
    return f"sqla+sqlite:///{settings.data_folder.absolute() / 'queue.sqlite'}"


def open_queue(url: str, name: str = "anygpt", held_s: float = HARD_LIMIT_S) -> Celery:
    """A queue whose tasks are taken one at a time and acknowledged when done: a lost worker loses nothing.

    What a worker has taken is given to another when it has not been done or held for so long; by Redis alone.
    """
    queue = Celery(name, broker=url)
    # Of its own: queues that share a Redis would give back each other's tasks, each after its own time.
    options = {
        "visibility_timeout": held_s,
        "unacked_key": f"{name}:unacked",
        "unacked_index_key": f"{name}:unacked-index",
        "unacked_mutex_key": f"{name}:unacked-mutex",
        "unacked_restore_throttle": 1,
    }
    queue.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_use_ssl=_verified(url),
        broker_transport_options=options if _gives_back(url) else {},
        task_default_queue=name,
        worker_hijack_root_logger=False,
    )
    return queue


async def enqueue(queue: Celery, task: str, *arguments: str | float | None) -> None:
    """Put a task into the queue. Raises Unavailable when the broker does not answer."""
    try:
        await asyncio.to_thread(queue.send_task, task, args=arguments, retry=True, retry_policy=ONE_RETRY)
    except OperationalError as error:
        raise Unavailable(f"the queue does not answer: {type(error).__name__}") from error


class QueueWorker:
    """A worker of one queue on a thread of its own, doing one task at a time."""

    def __init__(self, queue: Celery) -> None:
        self._queue = queue
        self._worker: Any = None
        self._thread: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()
        self.is_draining = False
        self.gives_back = _gives_back(queue.conf.broker_url)
        """Whether the broker gives what a lost worker had to another."""

    def open(self, name: str, task: Callable[..., None]) -> None:
        """Register the task by its name and begin to take it."""

        def take(*arguments: Any) -> None:
            self._idle.clear()
            try:
                if self.is_draining:
                    raise Redeliver(requeue=True)
                task(*arguments)
            finally:
                self._idle.set()

        self._queue.task(name=name, shared=False)(take)
        self._worker = self._queue.WorkController(pool="solo", concurrency=1, loglevel="WARNING")
        self._thread = threading.Thread(target=self._work, name=f"queue-{name}", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        # Celery looks a task up in the thread's current queue, and this process may have others.
        self._queue.set_current()
        try:
            self._worker.start()
        finally:
            if not self.is_draining:
                log.critical("the worker of the queue ended: its process ends too, so as to be started anew")
                os.kill(os.getpid(), signal.SIGTERM)

    def hold(self) -> None:
        """Keep the task under way from other workers for another `held_s`; called in the task."""
        if not self.gives_back:
            return
        qos = self._worker.consumer.task_consumer.channel.qos
        refused = (*qos.channel.connection.connection_errors, *qos.channel.connection.channel_errors)
        try:
            with qos.pipe_or_acquire() as pipe:
                # Kombu dates what is delivered and never again, though its timeout counts from that date.
                pipe.zadd(qos.unacked_index_key, dict.fromkeys(qos._delivered, time.time()), xx=True)
                pipe.execute()
        except refused as error:
            # What Redis answers in its own words, such as READONLY, is an error of the channel.
            log.warning("the task under way was not held: %s", error)

    def refuse(self) -> None:
        """Give back every task that comes from now on."""
        self.is_draining = True

    async def drain(self, seconds: float) -> None:
        """Take no more tasks, and wait for the one under way; one that raises Redeliver goes to another worker."""
        self.refuse()
        if self._thread is not None:
            # Stopped from here, the worker would read the very answer that its own thread waits for, and hang.
            self._worker.consumer.call_soon(_shut_down)
            await asyncio.to_thread(self._idle.wait, seconds)
            await asyncio.to_thread(self._thread.join, JOIN_S)

    async def close(self) -> None:
        """Disconnect; a task that has not ended ends with the process."""
        await asyncio.to_thread(self._queue.close)


def _gives_back(url: str) -> bool:
    """Whether a broker dates what it delivers: Redis alone."""
    return url.startswith("redis")


def _verified(url: str) -> dict[str, ssl.VerifyMode] | None:
    """What Kombu does not do by itself: have the server's certificate verified, unless the URL says how."""
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED} if url.startswith("rediss://") else None


def _shut_down() -> None:
    raise WorkerShutdown(0)
