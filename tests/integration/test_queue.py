"""The work queue, on Redis and on a file: what a worker that stops leaves behind."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from pathlib import Path

import pytest

from anygpt.identity import new_id
from anygpt.queue import QueueWorker, Redeliver, enqueue, open_queue

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(60),
    # Kombu's tables, for SQLAlchemy of today.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
]

TASK = "work"


@pytest.fixture(params=["redis", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A broker of each kind."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis"))
    return f"sqla+sqlite:///{tmp_path / 'queue.sqlite'}"


async def test_a_task_that_a_stopping_worker_gives_back_is_taken_by_the_next_one(url: str) -> None:
    name, begun, stopping, taken = new_id(), threading.Event(), threading.Event(), list[str]()

    def leave(_: str) -> None:
        begun.set()
        stopping.wait(10)
        raise Redeliver(requeue=True)

    first, second = (QueueWorker(open_queue(url, name)) for _ in range(2))
    first.open(TASK, leave)
    await enqueue(open_queue(url, name), TASK, "a task")
    await asyncio.to_thread(begun.wait, 10)
    draining = asyncio.create_task(first.drain(20))
    await asyncio.sleep(0.2)
    stopping.set()
    await draining
    await first.close()
    second.open(TASK, taken.append)
    async with asyncio.timeout(20):
        while not taken:
            await asyncio.sleep(0.1)
    await second.drain(20)
    await second.close()
    assert taken == ["a task"]


async def test_an_idle_worker_stops_within_its_poll_and_takes_nothing_more(url: str) -> None:
    name, taken = new_id(), list[str]()
    worker = QueueWorker(open_queue(url, name))
    worker.open(TASK, taken.append)
    await enqueue(open_queue(url, name), TASK, "before")
    async with asyncio.timeout(20):
        while not taken:
            await asyncio.sleep(0.1)
    began = time.monotonic()
    await worker.drain(20)
    assert time.monotonic() - began < 10
    await enqueue(open_queue(url, name), TASK, "after")
    await asyncio.sleep(2.5)
    await worker.close()
    assert taken == ["before"]


KILLED = """
import sys, time
from anygpt.queue import QueueWorker, open_queue
worker = QueueWorker(open_queue(sys.argv[1], sys.argv[2], 3.0))
def work(_: str) -> None:
    for _ in range(600):
        print("at work", flush=True)
        time.sleep(0.5)
        worker.hold()
worker.open("work", work)
time.sleep(300)
"""


@pytest.mark.timeout(120)
async def test_a_task_stays_with_the_worker_that_holds_it_and_goes_to_another_when_that_is_killed(
    redis: str,
) -> None:
    name, taken = new_id(), list[str]()
    other = QueueWorker(open_queue(redis, name, 3.0))
    await enqueue(open_queue(redis, name, 3.0), TASK, "a task")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, redis, name, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"at work\n"
    other.open(TASK, taken.append)
    await asyncio.sleep(25)
    assert taken == []
    child.kill()
    await child.wait()
    async with asyncio.timeout(60):
        while not taken:
            await asyncio.sleep(0.5)
    assert taken == ["a task"]
    await other.drain(20)
    await other.close()
