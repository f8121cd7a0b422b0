"""What only a real MinIO shows: signed URLs, a bucket that is missing, a server that is down."""

from __future__ import annotations

import asyncio
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest

from anygpt.connections import create_infrastructure, open_store
from anygpt.errors import InvalidInput, Precondition, Unavailable
from anygpt.settings import S3Settings, ServiceSettings
from anygpt.store import Store
from tests.servers import Minio

pytestmark = pytest.mark.integration


@pytest.fixture
async def store(minio_server: Minio) -> AsyncIterator[Store]:
    """A store whose clients know the server by another name than the services do."""
    address = f"http://localhost:{minio_server.port}"
    public = minio_server.settings.model_copy(update={"public_endpoint": address})
    opened = await open_store(ServiceSettings(store=minio_server.url, s3=public))
    yield opened
    await opened.close()


def call(method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
    """What a client without any library gets."""
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


async def test_signed_urls_let_anybody_write_and_read_at_the_public_address(store: Store) -> None:
    writing = await store.presign("tenant/signed", "PUT", 60)
    assert writing.startswith("http://localhost:")
    assert (await asyncio.to_thread(call, "PUT", writing, b"by a client"))[0] == 200
    assert await store.get("tenant/signed", 100) == b"by a client"
    reading = await store.presign("tenant/signed", "GET", 60)
    assert await asyncio.to_thread(call, "GET", reading) == (200, b"by a client")


async def test_a_signed_url_is_for_one_method_one_object_and_a_short_time(store: Store) -> None:
    await store.put("tenant/mine", b"mine", "text/plain")
    await store.put("tenant/other", b"other", "text/plain")
    reading = await store.presign("tenant/mine", "GET", 1)
    assert (await asyncio.to_thread(call, "PUT", reading, b"changed"))[0] == 403
    assert (await asyncio.to_thread(call, "GET", reading.replace("/mine", "/other")))[0] == 403
    await asyncio.sleep(2.1)
    assert (await asyncio.to_thread(call, "GET", reading))[0] == 403


async def test_an_object_is_served_under_its_media_type(store: Store) -> None:
    await store.put("tenant/typed", b"", "audio/wav")
    url = await store.presign("tenant/typed", "GET", 60)
    response = await asyncio.to_thread(urllib.request.urlopen, url, timeout=5)
    with response:
        assert response.headers["Content-Type"] == "audio/wav"


async def test_the_bucket_is_made_once_and_its_lack_is_named(minio_server: Minio) -> None:
    url = f"s3://{minio_server.endpoint}/another-bucket"
    settings = ServiceSettings(store=url, s3=minio_server.settings)
    store = await open_store(settings)
    with pytest.raises(Precondition, match="anygpt init"):
        await store.put("t/0", b"", "x/y")
    assert await create_infrastructure(settings) == ["bucket"]
    assert await create_infrastructure(settings) == []
    assert await store.put("t/0", b"", "x/y")
    await store.close()


async def test_a_server_that_is_down_is_unavailable_at_once(minio_server: Minio) -> None:
    gone = ServiceSettings(store="s3://127.0.0.1:9/bucket", s3=minio_server.settings)
    store = await open_store(gone)
    began = time.monotonic()
    with pytest.raises(Unavailable):
        await store.put("t/0", b"", "x/y")
    with pytest.raises(Unavailable):
        await store.get("t/0", 10)
    assert time.monotonic() - began < 5
    await store.close()


async def test_wrong_credentials_are_refused(minio_server: Minio) -> None:
    nobody = minio_server.settings.model_copy(update={"access_key": "nobody"})
    store = await open_store(ServiceSettings(store=minio_server.url, s3=nobody))
    with pytest.raises(Unavailable):
        await store.get("t/0", 10)
    await store.close()


async def test_a_public_endpoint_is_a_url(minio_server: Minio) -> None:
    wrong = S3Settings(public_endpoint="media.example.com")
    with pytest.raises(InvalidInput):
        await open_store(ServiceSettings(store=minio_server.url, s3=wrong))
