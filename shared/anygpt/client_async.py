"""The client for code with an event loop; see `anygpt.client`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from anygpt import topology
from anygpt.answer import TERMINALS, Answer, Event
from anygpt.client_message import Link, Media, Options, Piece, modality_of
from anygpt.credentials import Credentials, open_channel
from anygpt.errors import AnyGPTError, Unavailable, from_rpc_error
from anygpt.identity import TENANT_METADATA
from anygpt.v1 import (
    admin_service_pb2,
    admin_service_pb2_grpc,
    anygpt_service_pb2,
    anygpt_service_pb2_grpc,
    job_service_pb2,
    job_service_pb2_grpc,
    media_service_pb2,
    media_service_pb2_grpc,
    types_pb2,
)

CHUNK_BYTES = 256 * 1024
INLINE_BYTES = 256 * 1024
RETRIES = 16
"""Of a stream that has begun: about 40 seconds without an event."""
FIRST_RETRIES = 5
RECEIVE_BYTES = 16 * 1024 * 1024


class AsyncClient:
    """A connection to a gateway. Use it as an async context manager.

    With credentials the tenant is theirs; `tenant` is for a gateway that asks for none, and for keys of any tenant.
    """

    def __init__(self, address: str, tenant: str = "default", credentials: Credentials | None = None) -> None:
        options = [("grpc.max_receive_message_length", RECEIVE_BYTES)]
        self._credentials = credentials or Credentials()
        self._tenant = tenant
        self._channel = open_channel(address, self._credentials, options)
        self._anygpt = anygpt_service_pb2_grpc.AnyGPTServiceStub(self._channel)
        self._media = media_service_pb2_grpc.MediaServiceStub(self._channel)
        self._admin = admin_service_pb2_grpc.AdminServiceStub(self._channel)
        self._jobs = job_service_pb2_grpc.JobServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Disconnect."""
        await self._channel.close()

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((TENANT_METADATA, self._tenant), *self._credentials.metadata())

    async def events(self, *pieces: Piece, options: Options | None = None) -> AsyncIterator[Event]:
        """The events of one turn, to the terminal one; a broken stream is resumed after the last event seen."""
        options = options or Options()
        request = await self.request(*pieces, options=options)
        async for event in self.stream(request, options.timeout_s):
            yield event

    async def stream(
        self, request: anygpt_service_pb2.GenerateRequest, timeout_s: float | None = None
    ) -> AsyncIterator[Event]:
        """As `events`, for a request that is made already."""
        last, failures = Event(), 0
        while last.WhichOneof("kind") not in TERMINALS:
            if last.seq:
                resume = anygpt_service_pb2.ResumeRequest(request_id=last.request_id, after_seq=last.seq)
                call: Any = self._anygpt.Resume(resume, metadata=self._metadata)
            else:
                call = self._anygpt.Generate(request, metadata=self._metadata, timeout=timeout_s)
            try:
                async for response in call:
                    last, failures = response.event, 0
                    yield last
            except grpc.aio.AioRpcError as error:
                failures += 1
                told = from_rpc_error(error)
                has_begun = bool(last.seq or request.idempotency_key)
                if not _may_go_on(told, has_begun) or failures > (RETRIES if last.seq else FIRST_RETRIES):
                    raise told from None
                await asyncio.sleep(random.uniform(0, min(5.0, 0.1 * 2**failures)))
            finally:
                call.cancel()

    async def answer(self, *pieces: Piece, options: Options | None = None) -> Answer:
        """One turn, whole. Raises AnyGPTError when it fails, is cancelled or expires."""
        answer = Answer()
        async for event in self.events(*pieces, options=options):
            answer.add(event)
        return answer

    async def request(self, *pieces: Piece, options: Options) -> anygpt_service_pb2.GenerateRequest:
        """The message that `events` sends; media above the inline limit is uploaded first."""
        return anygpt_service_pb2.GenerateRequest(
            idempotency_key=options.idempotency_key,
            conversation_id=options.conversation_id,
            parts=[await self._part(piece) for piece in pieces],
            system=options.system,
            want=[modality_of(name, f"want[{i}]") for i, name in enumerate(options.want)],
            seed=options.seed,
            sampling=options.sampling,
            output=options.output,
            voice=options.voice,
            priority=types_pb2.PRIORITY_BATCH if options.is_batch else types_pb2.PRIORITY_INTERACTIVE,
        )

    async def describe(self) -> anygpt_service_pb2.DescribeResponse:
        """What the installation can do."""
        call = self._anygpt.Describe(anygpt_service_pb2.DescribeRequest(), metadata=self._metadata)
        response: anygpt_service_pb2.DescribeResponse = await _translated(call)
        return response

    async def inspect(self, request_id: str) -> anygpt_service_pb2.InspectResponse:
        """What happened to a request. Raises NotFound, OutOfRange."""
        request = anygpt_service_pb2.InspectRequest(request_id=request_id)
        call = self._anygpt.Inspect(request, metadata=self._metadata)
        response: anygpt_service_pb2.InspectResponse = await _translated(call)
        return response

    async def new_conversation(self) -> str:
        """Open a conversation; its id goes into Options."""
        request = anygpt_service_pb2.CreateConversationRequest()
        call = self._anygpt.CreateConversation(request, metadata=self._metadata)
        response: anygpt_service_pb2.CreateConversationResponse = await _translated(call)
        return response.conversation.conversation_id

    async def cancel(self, request_id: str) -> bool:
        """Stop a request; False if it had ended."""
        request = anygpt_service_pb2.CancelRequest(request_id=request_id)
        call = self._anygpt.Cancel(request, metadata=self._metadata)
        response: anygpt_service_pb2.CancelResponse = await _translated(call)
        return response.cancelled

    async def resume(self, request_id: str, after_seq: int) -> AsyncIterator[Event]:
        """The events of an earlier request after `after_seq`."""
        request = anygpt_service_pb2.ResumeRequest(request_id=request_id, after_seq=after_seq)
        async with aclosing(_streamed(self._anygpt.Resume(request, metadata=self._metadata))) as responses:
            async for response in responses:
                yield response.event

    async def conversation(self, conversation_id: str) -> anygpt_service_pb2.GetConversationResponse:
        """A conversation with its turns."""
        request = anygpt_service_pb2.GetConversationRequest(conversation_id=conversation_id)
        call = self._anygpt.GetConversation(request, metadata=self._metadata)
        response: anygpt_service_pb2.GetConversationResponse = await _translated(call)
        return response

    async def conversations(self) -> AsyncIterator[anygpt_service_pb2.Conversation]:
        """All conversations, newest first, page by page as they are read."""
        request = anygpt_service_pb2.ListConversationsRequest()
        while True:
            page = await _translated(self._anygpt.ListConversations(request, metadata=self._metadata))
            for conversation in page.conversations:
                yield conversation
            request.page_token = page.next_page_token
            if not request.page_token:
                return

    async def delete_conversation(self, conversation_id: str) -> None:
        """Erase a conversation, and its media that no other conversation holds."""
        request = anygpt_service_pb2.DeleteConversationRequest(conversation_id=conversation_id)
        await _translated(self._anygpt.DeleteConversation(request, metadata=self._metadata))

    async def delete_tenant(self) -> admin_service_pb2.DeleteTenantResponse:
        """Erase all that is kept of this client's tenant; for operators."""
        request = admin_service_pb2.DeleteTenantRequest(tenant=self._tenant)
        call = self._admin.DeleteTenant(request, metadata=self._metadata)
        response: admin_service_pb2.DeleteTenantResponse = await _translated(call)
        return response

    async def upload(self, media: Media, media_type: str = "", sha256: str = "") -> types_pb2.MediaRef:
        """Send media, and get the reference to use in messages."""
        modality = modality_of(media.modality, "modality")
        # What cannot be read is told as it is, not as a call that was cut.
        await asyncio.to_thread(_check_readable, media.source)
        header = media_service_pb2.UploadHeader(modality=modality, media_type=media_type, sha256=sha256)
        call = self._media.Upload(_upload_frames(header, media.source), metadata=self._metadata)
        response: media_service_pb2.UploadResponse = await _translated(call)
        return response.media

    async def upload_url(self, modality: topology.Modality, size_bytes: int) -> tuple[str, str]:
        """A short-lived URL to PUT media to, and the id that `complete_upload` takes."""
        request = media_service_pb2.CreateUploadUrlRequest(modality=modality, size_bytes=size_bytes)
        call = self._media.CreateUploadUrl(request, metadata=self._metadata)
        response: media_service_pb2.CreateUploadUrlResponse = await _translated(call)
        return response.url, response.upload_id

    async def complete_upload(self, upload_id: str) -> types_pb2.MediaRef:
        """The reference to what was PUT."""
        request = media_service_pb2.CompleteUploadRequest(upload_id=upload_id)
        call = self._media.CompleteUpload(request, metadata=self._metadata)
        response: media_service_pb2.CompleteUploadResponse = await _translated(call)
        return response.media

    async def download_url(self, object_id: str) -> str:
        """A short-lived URL to GET media from."""
        request = media_service_pb2.CreateDownloadUrlRequest(object=object_id)
        call = self._media.CreateDownloadUrl(request, metadata=self._metadata)
        response: media_service_pb2.CreateDownloadUrlResponse = await _translated(call)
        return response.url

    async def download(self, object_id: str) -> bytes:
        """Fetch media that an event or an upload named."""
        request = media_service_pb2.DownloadRequest(object=object_id)
        async with aclosing(_streamed(self._media.Download(request, metadata=self._metadata))) as frames:
            return b"".join([frame.chunk async for frame in frames])

    async def submit_job(self, lines: Path | bytes, idempotency_key: str = "") -> job_service_pb2.Job:
        """Upload a JSONL file of requests and queue it."""
        reference = await self.upload(Media(lines), "application/jsonl")
        request = job_service_pb2.CreateJobRequest(requests=reference, idempotency_key=idempotency_key)
        call = self._jobs.CreateJob(request, metadata=self._metadata)
        response: job_service_pb2.CreateJobResponse = await _translated(call)
        return response.job

    async def watch_job(self, job_id: str) -> AsyncIterator[job_service_pb2.Job]:
        """The job whenever it changes, until it ends."""
        request = job_service_pb2.WatchJobRequest(job_id=job_id)
        async with aclosing(_streamed(self._jobs.WatchJob(request, metadata=self._metadata))) as responses:
            async for response in responses:
                yield response.job

    async def cancel_job(self, job_id: str) -> job_service_pb2.Job:
        """Ask for a job to be cancelled."""
        request = job_service_pb2.CancelJobRequest(job_id=job_id)
        call = self._jobs.CancelJob(request, metadata=self._metadata)
        response: job_service_pb2.CancelJobResponse = await _translated(call)
        return response.job

    async def _part(self, piece: Piece) -> types_pb2.Part:
        if isinstance(piece, str):
            return types_pb2.Part(modality=topology.TEXT, text=piece)
        if isinstance(piece, types_pb2.MediaRef):
            return types_pb2.Part(modality=piece.modality, media=piece)
        modality = modality_of(piece.modality, "parts.modality")
        if isinstance(piece, Link):
            return types_pb2.Part(modality=modality, url=piece.url)
        if await asyncio.to_thread(_size, piece.source) > INLINE_BYTES:
            return types_pb2.Part(modality=modality, media=await self.upload(piece))
        data = await asyncio.to_thread(_read, piece.source)
        return types_pb2.Part(modality=modality, inline=types_pb2.InlineMedia(data=data))


def _may_go_on(error: AnyGPTError, has_begun: bool) -> bool:
    """Whether a broken stream can be taken up, or a call that surely did not begin be made again."""
    if has_begun:
        return isinstance(error, Unavailable) or error.reason == "SLOW_CONSUMER"
    return error.reason in ("DRAINING", "NOT_READY") or error.message.startswith("failed to connect")


async def _translated(call: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None


async def _streamed(call: Any) -> AsyncGenerator[Any]:
    """The responses of a call that ends with whoever reads them."""
    try:
        async for response in call:
            yield response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from None
    finally:
        call.cancel()


async def _upload_frames(
    header: media_service_pb2.UploadHeader, source: Path | bytes
) -> AsyncIterator[media_service_pb2.UploadRequest]:
    yield media_service_pb2.UploadRequest(header=header)
    with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield media_service_pb2.UploadRequest(chunk=chunk)


def _check_readable(source: Path | bytes) -> None:
    if isinstance(source, Path):
        source.open("rb").close()


def _size(source: Path | bytes) -> int:
    return len(source) if isinstance(source, bytes) else source.stat().st_size


def _read(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else source.read_bytes()
