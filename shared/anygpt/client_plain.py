"""The client for code without an event loop; see `anygpt.client`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from anygpt import topology
from anygpt.answer import Answer, Event
from anygpt.client_async import AsyncClient
from anygpt.client_message import Media, Options, Piece
from anygpt.credentials import Credentials
from anygpt.v1 import admin_service_pb2, anygpt_service_pb2, job_service_pb2, types_pb2

T = TypeVar("T")


class Client:
    """AsyncClient, called plainly: the same names, on a loop in a thread of its own. Use it as a context manager."""

    def __init__(self, address: str, tenant: str = "default", credentials: Credentials | None = None) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="anygpt-client", daemon=True)
        self._thread.start()
        self._client = self._run(_made(address, tenant, credentials))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect."""
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def events(self, *pieces: Piece, options: Options | None = None) -> Iterator[Event]:
        """See AsyncClient."""
        return self._each(self._client.events(*pieces, options=options))

    def stream(
        self, request: anygpt_service_pb2.GenerateRequest, timeout_s: float | None = None
    ) -> Iterator[Event]:
        """See AsyncClient."""
        return self._each(self._client.stream(request, timeout_s))

    def answer(self, *pieces: Piece, options: Options | None = None) -> Answer:
        """See AsyncClient."""
        return self._run(self._client.answer(*pieces, options=options))

    def request(self, *pieces: Piece, options: Options) -> anygpt_service_pb2.GenerateRequest:
        """See AsyncClient."""
        return self._run(self._client.request(*pieces, options=options))

    def describe(self) -> anygpt_service_pb2.DescribeResponse:
        """See AsyncClient."""
        return self._run(self._client.describe())

    def inspect(self, request_id: str) -> anygpt_service_pb2.InspectResponse:
        """See AsyncClient."""
        return self._run(self._client.inspect(request_id))

    def new_conversation(self) -> str:
        """See AsyncClient."""
        return self._run(self._client.new_conversation())

    def conversation(self, conversation_id: str) -> anygpt_service_pb2.GetConversationResponse:
        """See AsyncClient."""
        return self._run(self._client.conversation(conversation_id))

    def conversations(self) -> Iterator[anygpt_service_pb2.Conversation]:
        """See AsyncClient."""
        return self._each(self._client.conversations())

    def delete_conversation(self, conversation_id: str) -> None:
        """See AsyncClient."""
        self._run(self._client.delete_conversation(conversation_id))

    def delete_tenant(self) -> admin_service_pb2.DeleteTenantResponse:
        """See AsyncClient."""
        return self._run(self._client.delete_tenant())

    def cancel(self, request_id: str) -> bool:
        """See AsyncClient."""
        return self._run(self._client.cancel(request_id))

    def resume(self, request_id: str, after_seq: int) -> Iterator[Event]:
        """See AsyncClient."""
        return self._each(self._client.resume(request_id, after_seq))

    def upload(self, media: Media, media_type: str = "", sha256: str = "") -> types_pb2.MediaRef:
        """See AsyncClient."""
        return self._run(self._client.upload(media, media_type, sha256))

    def upload_url(self, modality: topology.Modality, size_bytes: int) -> tuple[str, str]:
        """See AsyncClient."""
        return self._run(self._client.upload_url(modality, size_bytes))

    def complete_upload(self, upload_id: str) -> types_pb2.MediaRef:
        """See AsyncClient."""
        return self._run(self._client.complete_upload(upload_id))

    def download(self, object_id: str) -> bytes:
        """See AsyncClient."""
        return self._run(self._client.download(object_id))

    def download_url(self, object_id: str) -> str:
        """See AsyncClient."""
        return self._run(self._client.download_url(object_id))

    def submit_job(self, lines: Path | bytes, idempotency_key: str = "") -> job_service_pb2.Job:
        """See AsyncClient."""
        return self._run(self._client.submit_job(lines, idempotency_key))

    def watch_job(self, job_id: str) -> Iterator[job_service_pb2.Job]:
        """See AsyncClient."""
        return self._each(self._client.watch_job(job_id))

    def cancel_job(self, job_id: str) -> job_service_pb2.Job:
        """See AsyncClient."""
        return self._run(self._client.cancel_job(job_id))

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        try:
            while (item := self._run(_next(items))) is not None:
                yield item
        finally:
            self._run(_closed(items))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


async def _made(address: str, tenant: str, credentials: Credentials | None) -> AsyncClient:
    return AsyncClient(address, tenant, credentials)


async def _next(items: AsyncIterator[T]) -> T | None:
    return await anext(items, None)


async def _closed(items: AsyncIterator[Any]) -> None:
    """A stream that is left early ends at the server too."""
    close = getattr(items, "aclose", None)
    if close is not None:
        await close()
