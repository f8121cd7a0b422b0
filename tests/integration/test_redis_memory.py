"""What only a real Redis shows: it goes, it comes back, it forgets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from anygpt.connections import open_memory
from anygpt.errors import Unavailable
from anygpt.memory import LossyMemory
from anygpt.redis import CONNECTIONS
from anygpt.settings import ServiceSettings
from tests.servers import Redis

pytestmark = pytest.mark.integration


@pytest.fixture
def server() -> Iterator[Redis]:
    """A server of this test alone, to be broken."""
    with Redis() as own:
        yield own


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await open_memory(ServiceSettings(memory="redis://127.0.0.1:9/0"))


async def test_a_memory_outlives_its_server(server: Redis) -> None:
    memory = await open_memory(ServiceSettings(memory=server.url))
    await memory.set("key", b"value", 60)
    server.stop()
    with pytest.raises(Unavailable):
        await memory.get("key")
    server.start()
    await memory.set("key", b"again", 60)
    assert await memory.get("key") == b"again"
    await memory.close()


async def test_a_burst_leaves_no_crowd_of_connections(server: Redis) -> None:
    memory = await open_memory(ServiceSettings(memory=server.url))
    await memory.set("key", b"value", 60)
    assert await asyncio.gather(*(memory.get("key") for _ in range(500))) == [b"value"] * 500
    held = _sockets()
    await memory.close()
    assert held - _sockets() <= CONNECTIONS


def _sockets() -> int:
    return sum(_is_socket(handle) for handle in Path("/proc/self/fd").iterdir())


def _is_socket(handle: Path) -> bool:
    try:
        return str(handle.readlink()).startswith("socket:")
    except FileNotFoundError:  # the handle that reads this very list
        return False


async def test_a_frozen_server_is_given_up_within_seconds(server: Redis) -> None:
    memory = await open_memory(ServiceSettings(memory=server.url))
    with server.paused():
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await memory.get("key")
        assert time.monotonic() - began < 10
    await memory.close()


async def test_a_lossy_memory_is_empty_while_its_server_is_away(server: Redis) -> None:
    memory = await open_memory(ServiceSettings(memory=server.url))
    lossy = LossyMemory(memory)
    await lossy.set("key", b"value", 60)
    server.stop()
    assert await lossy.get("key") is None
    assert await lossy.set("claim", b"holder", 60, if_absent=True)
    server.start()
    async with asyncio.timeout(10):
        while not await memory.get("back"):
            await lossy.set("back", b"again", 60)
            await asyncio.sleep(0.1)
    await memory.close()
