"""One contract for every memory: SQLite and Redis behave the same."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anygpt.connections import open_memory
from anygpt.memory import Memory
from anygpt.settings import ServiceSettings


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.integration)])
async def memory(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Memory]:
    url = (
        f"sqlite:///{tmp_path}/memory.sqlite"
        if request.param == "sqlite"
        else request.getfixturevalue("redis")
    )
    opened = await open_memory(ServiceSettings(memory=url))
    yield opened
    await opened.close()


@pytest.fixture
def key() -> str:
    return f"test:{uuid.uuid4().hex}"


async def test_a_value_is_remembered_as_it_was(memory: Memory, key: str) -> None:
    assert await memory.set(key, b"\x00\xff", 10)
    assert await memory.get(key) == b"\x00\xff"


async def test_a_missing_value_is_none(memory: Memory, key: str) -> None:
    assert await memory.get(key) is None


async def test_a_later_value_replaces_the_earlier(memory: Memory, key: str) -> None:
    await memory.set(key, b"first", 10)
    assert await memory.set(key, b"second", 10)
    assert await memory.get(key) == b"second"


async def test_of_eight_claims_one_wins(memory: Memory, key: str) -> None:
    names = [f"claimant-{number}".encode() for number in range(8)]
    wins = await asyncio.gather(*(memory.set(key, name, 10, if_absent=True) for name in names))
    assert sum(wins) == 1
    assert await memory.get(key) == names[wins.index(True)]


async def test_a_value_expires_and_may_be_claimed_again(memory: Memory, key: str) -> None:
    await memory.set(key, b"first", 0.05)
    await asyncio.sleep(0.1)
    assert await memory.get(key) is None
    assert not await memory.delete(key)
    assert await memory.set(key, b"second", 10, if_absent=True)
    assert await memory.get(key) == b"second"


async def test_a_new_value_has_a_new_life(memory: Memory, key: str) -> None:
    await memory.set(key, b"short", 0.05)
    await memory.set(key, b"long", 10)
    await asyncio.sleep(0.1)
    assert await memory.get(key) == b"long"


async def test_a_refused_claim_does_not_prolong_the_holder(memory: Memory, key: str) -> None:
    await memory.set(key, b"holder", 0.1)
    assert not await memory.set(key, b"other", 10, if_absent=True)
    await asyncio.sleep(0.15)
    assert await memory.get(key) is None


async def test_deleting_tells_whether_there_was_a_value(memory: Memory, key: str) -> None:
    await memory.set(key, b"value", 10)
    assert await memory.delete(key)
    assert not await memory.delete(key)
    assert await memory.get(key) is None


async def test_only_the_holder_gives_up_a_claim(memory: Memory, key: str) -> None:
    await memory.set(key, b"holder", 10)
    assert not await memory.delete(key, b"other")
    assert await memory.get(key) == b"holder"
    assert await memory.delete(key, b"holder")
    assert not await memory.delete(key, b"holder")


async def test_all_values_under_a_prefix_are_removed_and_no_other(memory: Memory, key: str) -> None:
    for name in (f"{key}/a/1", f"{key}/a/2", f"{key}/ab", f"{key}/*", f"x{key}/a/1"):
        await memory.set(name, b"value", 10)
    await memory.delete_all(f"{key}/a/")
    await memory.delete_all(f"{key}/*")
    left = [await memory.get(name) for name in (f"{key}/a/1", f"{key}/a/2", f"{key}/*")]
    assert left == [None, None, None]
    assert await memory.get(f"{key}/ab") == await memory.get(f"x{key}/a/1") == b"value"
