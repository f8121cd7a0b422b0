"""The work queue, on Redis and on a file: what a worker that stops leaves behind."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import trustme
import yaml
from redis import Redis as Client

from anygpt.errors import Unavailable
from anygpt.identity import new_id
from anygpt.queue import QueueWorker, Redeliver, enqueue, open_queue
from tests.contract.surface import ROOT
from tests.servers.install import redis_binary
from tests.servers.process import free_port
from tests.servers.redis import Redis

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(60),
    # Kombu's tables, for SQLAlchemy of today.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    # Celery's word at each lost connection, of a default of its next version.
    pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning"),
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


async def test_a_redis_that_takes_no_writes_for_a_while_ends_neither_a_task_nor_its_worker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    name, begun, over, taken = new_id(), threading.Event(), threading.Event(), list[str]()

    def work(task: str) -> None:
        begun.set()
        while not over.wait(0.2):
            worker.hold()
        taken.append(task)

    async def until(task: str) -> None:
        async with asyncio.timeout(30):
            while task not in taken:
                await asyncio.sleep(0.1)

    with Redis() as server, Client.from_url(server.url) as operator:
        worker = QueueWorker(open_queue(server.url, name))
        worker.open(TASK, work)
        await enqueue(open_queue(server.url, name), TASK, "under way")
        assert await asyncio.to_thread(begun.wait, 10)
        operator.replicaof("127.0.0.1", "1")
        async with asyncio.timeout(20):
            while "was not held" not in caplog.text:
                await asyncio.sleep(0.1)
        operator.replicaof("NO", "ONE")
        over.set()
        await until("under way")
        await enqueue(open_queue(server.url, name), TASK, "the next")
        await until("the next")
        operator.replicaof("127.0.0.1", "1")
        await asyncio.sleep(4)
        operator.replicaof("NO", "ONE")
        await enqueue(open_queue(server.url, name), TASK, "the last")
        await until("the last")
        await worker.drain(20)
        await worker.close()


BROKEN = """
import sys, time
from anygpt.queue import QueueWorker, open_queue
def fall_over() -> None:
    raise RuntimeError("something that nobody foresaw")
worker = QueueWorker(open_queue(sys.argv[1], sys.argv[2]))
worker.open("work", print)
time.sleep(2)
worker._worker.consumer.call_soon(fall_over)
time.sleep(300)
"""


async def test_a_worker_that_falls_over_takes_its_process_along(redis: str) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", BROKEN, redis, new_id())
    async with asyncio.timeout(50):
        assert await child.wait() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("told", "is_trusted"), [("", False), ("?ssl_ca_certs={}", True), ("?ssl_cert_reqs=none", True)]
)
async def test_the_certificate_of_a_queue_is_verified_unless_its_url_says_otherwise(
    told: str, is_trusted: bool, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with SealedRedis(authority.issue_cert("127.0.0.1"), tmp_path) as server:
        queue = open_queue(server.url + told.format(tmp_path / "ca.pem"))
        with nullcontext() if is_trusted else pytest.raises(Unavailable):
            await enqueue(queue, TASK, "a task")


async def test_what_waits_in_the_queue_of_compose_outlives_a_restart() -> None:
    taken = list[str]()
    with ComposeRedis() as server:
        queue = open_queue(server.url)
        await enqueue(queue, TASK, "a task")
        server.down_for(0.1)
        worker = QueueWorker(queue)
        worker.open(TASK, taken.append)
        async with asyncio.timeout(20):
            while not taken:
                await asyncio.sleep(0.1)
        await worker.drain(20)
        await worker.close()
    assert taken == ["a task"]


class ComposeRedis(Redis):
    """The memory of docker-compose.yml, on the loopback."""

    def command(self) -> list[str]:
        """What compose says, on the port and the folder of this one."""
        told = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["redis"]["command"]
        return [
            redis_binary(),
            "--bind",
            "127.0.0.1",
            "--port",
            f"{self.port}",
            "--dir",
            f"{self.data}",
            *told[1:],
        ]


class SealedRedis(Redis):
    """One that speaks TLS, beside the port by which it is watched."""

    def __init__(self, certificate: trustme.LeafCert, folder: Path) -> None:
        super().__init__()
        self._sealed_port, self._file = free_port(), folder / "server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(str(self._file))

    @property
    def url(self) -> str:
        """rediss://127.0.0.1:PORT/0"""
        return f"rediss://127.0.0.1:{self._sealed_port}/0"

    def command(self) -> list[str]:
        """A second port, with the certificate, which it asks of nobody else."""
        sealed = ["--tls-port", str(self._sealed_port), "--tls-auth-clients", "no"]
        return [
            *super().command(),
            *sealed,
            "--tls-cert-file",
            str(self._file),
            "--tls-key-file",
            str(self._file),
        ]
