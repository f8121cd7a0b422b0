"""The test servers do what chaos asks of them: die, freeze, forget, and come back on the same port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.servers import Kafka, Minio, Redis

PARENT = "from tests.servers import Redis; print(Redis().start().port, flush=True); input()"


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    """A server of this test alone, to be broken."""
    with Redis() as server:
        yield server


def ask(port: int, line: str) -> str:
    """Sends one command and returns the first line of the answer; OSError when nothing answers."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=0.5)) as connection:
        connection.sendall(f"{line}\r\n".encode())
        return connection.recv(256).decode().splitlines()[0]


def test_a_killed_server_comes_back_on_its_port(own_redis: Redis) -> None:
    own_redis.kill()
    with pytest.raises(ConnectionRefusedError):
        ask(own_redis.port, "PING")
    assert not own_redis.running
    own_redis.start()
    assert ask(own_redis.port, "PING") == "+PONG"


def test_a_paused_server_takes_connections_and_answers_after_the_pause(own_redis: Redis) -> None:
    with own_redis.paused(), pytest.raises(TimeoutError):
        ask(own_redis.port, "PING")
    assert ask(own_redis.port, "PING") == "+PONG"


def test_a_server_that_restarts_empty_has_forgotten(own_redis: Redis) -> None:
    assert ask(own_redis.port, "SET key value") == "+OK"
    own_redis.restart_empty()
    assert ask(own_redis.port, "EXISTS key") == ":0"


def test_a_closed_server_leaves_no_folder_behind() -> None:
    with Redis() as server:
        folder = server.folder
        assert folder.exists()
    assert not folder.exists()


def test_a_server_dies_with_a_parent_that_was_killed() -> None:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert ask(port, "PING") == "+PONG"
        os.kill(parent.pid, signal.SIGKILL)
    assert refuses_within(port, 5.0)


def refuses_within(port: int, seconds: float) -> bool:
    """Whether nothing listens on the port any more, at the latest after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            ask(port, "PING")
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_the_three_servers_answer_at_once_when_they_have_started(
    kafka_server: Kafka, minio_server: Minio, redis_server: Redis
) -> None:
    assert kafka_server.answers()
    assert minio_server.answers()
    assert redis_server.answers()
