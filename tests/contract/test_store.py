"""One contract for every store: the folder and MinIO behave the same."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anygpt.connections import open_store
from anygpt.errors import InvalidInput, NotFound, TooLarge
from anygpt.settings import ServiceSettings
from anygpt.store import PIECE_BYTES, Store
from tests.servers import Minio

LIMIT = 10_000_000


@pytest.fixture(params=["folder", pytest.param("minio", marks=pytest.mark.integration)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    settings = ServiceSettings(store=f"file://{tmp_path}/objects")
    if request.param == "minio":
        server: Minio = request.getfixturevalue("minio_server")
        settings = ServiceSettings(store=server.url, s3=server.settings)
    opened = await open_store(settings)
    yield opened
    for left in await opened.list(""):
        await opened.delete(left.key)
    await opened.close()


async def test_an_object_is_read_as_it_was_written(store: Store) -> None:
    assert await store.put("tenant/request/0.png", b"bytes", "image/png")
    assert await store.get("tenant/request/0.png", LIMIT) == b"bytes"


async def test_an_empty_object_is_an_object(store: Store) -> None:
    await store.put("tenant/empty", b"", "text/plain")
    assert await store.get("tenant/empty", 0) == b""
    assert [piece async for piece in store.stream("tenant/empty")] == []


async def test_a_file_becomes_an_object(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(os.urandom(3_000_000))
    assert await store.put("tenant/upload", file, "video/mp4")
    assert await store.get("tenant/upload", LIMIT) == file.read_bytes()


async def test_a_later_object_replaces_the_earlier(store: Store) -> None:
    await store.put("tenant/turn", b"first", "text/plain")
    assert await store.put("tenant/turn", b"second", "text/plain")
    assert await store.get("tenant/turn", LIMIT) == b"second"


async def test_folders_are_told_by_name_and_objects_are_not(store: Store) -> None:
    for key in (
        "tenant/jobs/b/state",
        "tenant/jobs/b/lines/1",
        "tenant/jobs/a/state",
        "tenant/jobs/c",
        "other/x",
    ):
        await store.put(key, b"", "text/plain")
    assert await store.folders("tenant/jobs/") == ["a", "b"]
    assert await store.folders("") == ["other", "tenant"]
    assert await store.folders("tenant/none/") == []


async def test_if_absent_keeps_what_exists(store: Store) -> None:
    assert await store.put("tenant/turn", b"first", "text/plain", if_absent=True)
    assert not await store.put("tenant/turn", b"second", "text/plain", if_absent=True)
    assert await store.get("tenant/turn", LIMIT) == b"first"


async def test_of_eight_writers_if_absent_lets_one_win(store: Store) -> None:
    contents = [bytes([number]) * 50_000 for number in range(8)]
    wins = await asyncio.gather(
        *(store.put("t/race", content, "x/y", if_absent=True) for content in contents)
    )
    assert sum(wins) == 1
    assert await store.get("t/race", LIMIT) == contents[wins.index(True)]


async def test_a_reader_sees_an_object_whole_while_it_is_replaced(store: Store) -> None:
    contents = [bytes([number]) * 400_000 for number in range(6)]
    await store.put("tenant/whole", contents[0], "x/y")
    writing = asyncio.gather(*(store.put("tenant/whole", content, "x/y") for content in contents))
    while not writing.done():
        assert await store.get("tenant/whole", LIMIT) in contents
    await writing


async def test_a_missing_object_is_not_found(store: Store) -> None:
    await store.put("tenant/folder/object", b"", "x/y")
    for key in ("nothing", "tenant/nothing", "tenant/folder"):
        with pytest.raises(NotFound):
            await store.get(key, LIMIT)
        with pytest.raises(NotFound):
            await anext(store.stream(key))


async def test_an_object_above_the_limit_is_not_read(store: Store) -> None:
    await store.put("tenant/large", bytes(1001), "x/y")
    assert len(await store.get("tenant/large", 1001)) == 1001
    with pytest.raises(TooLarge, match="1001"):
        await store.get("tenant/large", 1000)


async def test_a_large_object_streams_in_pieces(store: Store) -> None:
    content = os.urandom(5 * PIECE_BYTES + 17)
    await store.put("tenant/stream", content, "x/y")
    pieces = [piece async for piece in store.stream("tenant/stream")]
    assert b"".join(pieces) == content
    assert max(map(len, pieces)) <= PIECE_BYTES


async def test_a_stream_may_be_left_early(store: Store) -> None:
    await store.put("tenant/stream", bytes(4 * PIECE_BYTES), "x/y")
    for _ in range(20):
        pieces = store.stream("tenant/stream")
        await anext(pieces)
        await pieces.aclose()
    assert len(await store.get("tenant/stream", LIMIT)) == 4 * PIECE_BYTES


async def test_a_listing_has_what_lies_below_the_prefix_in_order(store: Store) -> None:
    for key in ("t/b/2", "t/a", "t/b/10", "t/ba", "u/b/1"):
        await store.put(key, key.encode(), "x/y")
    listed = await store.list("t/b/")
    assert [(one.key, one.size_bytes) for one in listed] == [("t/b/10", 6), ("t/b/2", 5)]
    assert all(abs(one.modified_ms / 1000 - time.time()) < 60 for one in listed)
    assert [one.key for one in await store.list("t/b")] == ["t/b/10", "t/b/2", "t/ba"]
    assert [one.key for one in await store.list("")] == ["t/a", "t/b/10", "t/b/2", "t/ba", "u/b/1"]
    assert await store.list("t/nothing") == []


async def test_a_deleted_object_is_gone_and_deleting_again_is_no_error(store: Store) -> None:
    await store.put("tenant/request/0", b"", "x/y")
    await store.delete("tenant/request/0")
    await store.delete("tenant/request/0")
    assert await store.list("") == []


@pytest.mark.parametrize(
    "key", ["", "/t", "t/", "t//u", "../t", "t/../u", "t/.u", ".t", "t u", "t\n", "tü", "t?", "a" * 513]
)
async def test_what_is_no_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(InvalidInput):
        await store.put(key, b"", "x/y")
    with pytest.raises(InvalidInput):
        await store.get(key, LIMIT)


async def test_writing_and_deleting_in_one_folder_at_once_loses_nothing(store: Store) -> None:
    async def write_and_delete(number: int) -> None:
        for _ in range(25):
            await store.put(f"t/shared/deep/{number}", b"x", "x/y")
            await store.list("t/")
            await store.delete(f"t/shared/deep/{number}")
        await store.put(f"t/shared/deep/{number}", b"kept", "x/y")

    await asyncio.gather(*(write_and_delete(number) for number in range(6)))
    assert len(await store.list("t/shared/")) == 6
