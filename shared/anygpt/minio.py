"""The real store: MinIO, or any S3. The vendor's client blocks, so it works on a few threads of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar
from urllib.parse import urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from anygpt.errors import AnyGPTError, InvalidInput, NotFound, Precondition, Unavailable
from anygpt.settings import S3Settings
from anygpt.store import PIECE_BYTES, StoredObject, check_key, check_object_size

T = TypeVar("T")

THREADS = 8
CONNECT_S = 3.0
READ_S = 30.0
UPLOAD_URL_LIFE = timedelta(minutes=15)
PRECONDITION_FAILED = "PreconditionFailed"
FOLDER_WENT = ("AccessDenied", "NoSuchKey")
"""What MinIO answers to an upload whose folder another object's delete has taken away under it, twice."""
FOLDER_PAUSES_S = (0.01, 0.02, 0.05, 0.1)


class MinioStore:
    """Objects in one bucket. With `if_absent` the server itself decides (If-None-Match), so one writer wins."""

    def __init__(self, endpoint: str, bucket: str, settings: S3Settings) -> None:
        self._bucket = bucket
        self._region = settings.region
        self._http = urllib3.PoolManager(
            maxsize=THREADS,
            timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
            retries=urllib3.Retry(connect=2, read=0, redirect=0, other=0, status=0, backoff_factor=0.1),
            ca_certs=str(settings.ca_file) if settings.ca_file else None,
        )
        scheme = "https" if settings.secure else "http"
        self._client = self._connect(f"{scheme}://{endpoint}", settings)
        self._signer = (
            self._connect(settings.public_endpoint, settings) if settings.public_endpoint else self._client
        )
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="minio")

    async def put(self, key: str, source: bytes | Path, media_type: str, *, if_absent: bool = False) -> bool:
        """See Store."""
        check_key(key)
        headers = {"Content-Type": media_type} | ({"If-None-Match": "*"} if if_absent else {})
        return await self._run(lambda: self._put(key, source, headers))

    async def get(self, key: str, limit_bytes: int) -> bytes:
        """See Store."""
        check_key(key)
        return await self._run(lambda: self._get(key, limit_bytes))

    async def stream(self, key: str) -> AsyncGenerator[bytes]:
        """See Store."""
        check_key(key)
        response = await self._run(lambda: self._client.get_object(self._bucket, key))
        try:
            while piece := await self._run(lambda: response.read(PIECE_BYTES)):
                yield piece
            response.release_conn()
        finally:
            response.close()

    async def folders(self, prefix: str) -> list[str]:
        """See Store."""
        return await self._run(lambda: [*self._folders(prefix)])

    async def list(self, prefix: str) -> list[StoredObject]:
        """See Store."""
        return await self._run(lambda: [*self._list(prefix)])

    async def delete(self, key: str) -> None:
        """See Store."""
        check_key(key)
        await self._run(lambda: self._client.remove_object(self._bucket, key))

    async def presign(self, key: str, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """See Store. The URL is for the public endpoint, which its signature holds."""
        return self._url(self._signer, method, check_key(key), timedelta(seconds=expires_s))

    async def make_bucket(self) -> bool:
        """Make the bucket if it is missing; tell whether it was."""
        return await self._run(self._make_bucket)

    async def close(self) -> None:
        """See Store."""
        await asyncio.to_thread(self._threads.shutdown)
        self._http.clear()

    def _connect(self, address: str, settings: S3Settings) -> Minio:
        url = urlsplit(address)
        if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
            raise InvalidInput(
                "an S3 endpoint is http://host:port or https://host:port", field="s3.public_endpoint"
            )
        return Minio(
            url.netloc,
            access_key=settings.access_key or None,
            secret_key=settings.secret_key.get_secret_value(),
            secure=url.scheme == "https",
            region=settings.region,
            http_client=self._http,
        )

    def _url(self, client: Minio, method: str, key: str, life: timedelta) -> str:
        return str(client.get_presigned_url(method, self._bucket, key, expires=life))

    def _put(self, key: str, source: bytes | Path, headers: dict[str, str]) -> bool:
        code = self._upload(key, source, headers)
        for pause_s in FOLDER_PAUSES_S:
            if code not in FOLDER_WENT:
                break
            time.sleep(pause_s)
            code = self._upload(key, source, headers)
        if code in FOLDER_WENT:
            raise _refused(code)
        if code and code != PRECONDITION_FAILED:
            raise _error(code)
        return not code

    def _upload(self, key: str, source: bytes | Path, headers: dict[str, str]) -> str:
        """Upload by a URL signed for it, which takes a condition, unlike the client's call; tell the error's code."""
        url = self._url(self._client, "PUT", key, UPLOAD_URL_LIFE)
        if isinstance(source, bytes):
            return self._send(url, source, headers)
        with source.open("rb") as file:
            return self._send(url, file, headers | {"Content-Length": str(source.stat().st_size)})

    def _send(self, url: str, body: bytes | BinaryIO, headers: dict[str, str]) -> str:
        response = self._http.request("PUT", url, body=body, headers=headers)
        if response.status == 200:
            return ""
        if response.status == 412:
            return PRECONDITION_FAILED
        code = response.data.partition(b"<Code>")[2].partition(b"</Code>")[0].decode(errors="replace")
        return code or str(response.status)

    def _get(self, key: str, limit_bytes: int) -> bytes:
        response = self._client.get_object(self._bucket, key)
        try:
            check_object_size(int(response.headers["Content-Length"]), limit_bytes)
            data: bytes = response.read()
            response.release_conn()
            return data
        finally:
            response.close()

    def _list(self, prefix: str) -> Iterator[StoredObject]:
        for found in self._client.list_objects(self._bucket, prefix=prefix, recursive=True):
            if found.object_name and found.last_modified:
                modified_ms = round(found.last_modified.timestamp() * 1000)
                yield StoredObject(found.object_name, found.size or 0, modified_ms)

    def _folders(self, prefix: str) -> Iterator[str]:
        for found in self._client.list_objects(self._bucket, prefix=prefix):
            if found.is_dir and found.object_name:
                yield found.object_name.removeprefix(prefix).removesuffix("/")

    def _make_bucket(self) -> bool:
        if self._client.bucket_exists(self._bucket):
            return False
        self._client.make_bucket(self._bucket, location=self._region)
        return True

    async def _run(self, work: Callable[[], T]) -> T:
        with _translating():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise _error(error.code or "") from error
    except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
        raise Unavailable(
            f"the store does not answer: {type(error).__name__}", retry_after_ms=1000
        ) from error


def _error(code: str) -> AnyGPTError:
    if code == "NoSuchKey":
        return NotFound("there is no such object")
    if code == "NoSuchBucket":
        return Precondition("there is no such bucket: run `anygpt init`")
    if code in ("XMinioParentIsObject", "XMinioObjectExistsAsDirectory"):
        return InvalidInput("the key lies above or below another object", field="key")
    return _refused(code)


def _refused(code: str) -> Unavailable:
    return Unavailable(f"the store refuses: {code}", retry_after_ms=1000)
