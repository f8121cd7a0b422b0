"""MediaService: media in and out of the store."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

from google.protobuf import timestamp_pb2

from anygpt.errors import DataLoss, InvalidInput, NotFound, TooLarge
from anygpt.grpc_door import call_of
from anygpt.identity import new_id, object_key, upload_object
from anygpt.settings import LimitSettings
from anygpt.stage import now_ms
from anygpt.store import Store
from anygpt.v1 import media_service_pb2, media_service_pb2_grpc, types_pb2
from services.gateway.intake import Intake
from services.gateway.media_facts import FactsReader
from services.gateway.settings import Settings

LINES = frozenset({"application/jsonl", "application/x-ndjson"})
"""Media types of the requests of a batch job: text that is stored as it is."""
PENDING = "application/x-pending"


class MediaServicer(media_service_pb2_grpc.MediaServiceServicer):
    """Uploads, downloads and presigned URLs."""

    def __init__(self, settings: Settings, store: Store, intake: Intake, facts: FactsReader) -> None:
        self._settings = settings
        self._limits: LimitSettings = settings.limits
        self._store = store
        self._intake = intake
        self._facts = facts

    async def Upload(self, request_iterator: Any, context: Any) -> media_service_pb2.UploadResponse:
        """See MediaService."""
        tenant = self._tenant(context)
        frames = aiter(request_iterator)
        first = await anext(frames, None)
        if first is None or not first.HasField("header"):
            raise InvalidInput("an upload begins with its header", field="header")
        with tempfile.NamedTemporaryFile(prefix="anygpt-upload-") as file:
            digest = await self._receive(frames, file)
            if first.header.sha256 and first.header.sha256 != digest:
                raise DataLoss("the bytes are not what the header's sha256 says", field="header.sha256")
            media = await self._keep(tenant, Path(file.name), first.header, digest)
        return media_service_pb2.UploadResponse(media=media)

    async def Download(self, request: Any, context: Any) -> AsyncIterator[media_service_pb2.DownloadResponse]:
        """See MediaService."""
        tenant = self._tenant(context)
        reference = await self._intake.find(tenant, request.object, "object")
        yield media_service_pb2.DownloadResponse(media=reference)
        async for chunk in self._store.stream(object_key(tenant, request.object)):
            yield media_service_pb2.DownloadResponse(chunk=chunk)

    async def CreateUploadUrl(self, request: Any, context: Any) -> media_service_pb2.CreateUploadUrlResponse:
        """See MediaService."""
        if not 0 < request.size_bytes <= self._limits.media_bytes:
            raise TooLarge(f"media has 1 to {self._limits.media_bytes} bytes", field="size_bytes")
        tenant, upload_id = self._tenant(context), new_id()
        url = await self._store.presign(_pending_key(tenant, upload_id), "PUT", self._settings.url_s)
        header = media_service_pb2.UploadHeader(modality=request.modality, media_type=request.media_type)
        await self._store.put(_header_key(tenant, upload_id), header.SerializeToString(), PENDING)
        return media_service_pb2.CreateUploadUrlResponse(
            url=url, upload_id=upload_id, expires_at=self._expiry()
        )

    async def CompleteUpload(self, request: Any, context: Any) -> media_service_pb2.CompleteUploadResponse:
        """See MediaService."""
        tenant = self._tenant(context)
        if not (request.upload_id.isalnum() and request.upload_id.isascii()):
            raise InvalidInput("this is no upload id", field="upload_id")
        header = media_service_pb2.UploadHeader()
        try:
            header.ParseFromString(await self._store.get(_header_key(tenant, request.upload_id), 4096))
            with tempfile.NamedTemporaryFile(prefix="anygpt-upload-") as file:
                key = _pending_key(tenant, request.upload_id)
                digest = await self._receive(_chunks(self._store.stream(key)), file)
                media = await self._keep(tenant, Path(file.name), header, digest)
        except NotFound:
            raise NotFound("nothing was uploaded under that id", field="upload_id") from None
        await self._store.delete(_pending_key(tenant, request.upload_id))
        await self._store.delete(_header_key(tenant, request.upload_id))
        return media_service_pb2.CompleteUploadResponse(media=media)

    async def CreateDownloadUrl(
        self, request: Any, context: Any
    ) -> media_service_pb2.CreateDownloadUrlResponse:
        """See MediaService."""
        tenant = self._tenant(context)
        await self._intake.find(tenant, request.object, "object")
        url = await self._store.presign(object_key(tenant, request.object), "GET", self._settings.url_s)
        return media_service_pb2.CreateDownloadUrlResponse(url=url, expires_at=self._expiry())

    async def _receive(self, frames: AsyncIterator[Any], file: BinaryIO | Any) -> str:
        digest, size = hashlib.sha256(), 0
        async for frame in frames:
            if frame.HasField("header"):
                raise InvalidInput("an upload has one header", field="header")
            size += len(frame.chunk)
            if size > self._limits.media_bytes:
                raise TooLarge(f"media has at most {self._limits.media_bytes} bytes", field="chunk")
            digest.update(frame.chunk)
            await asyncio.to_thread(file.write, frame.chunk)
        file.flush()
        return digest.hexdigest()

    async def _keep(
        self, tenant: str, path: Path, header: media_service_pb2.UploadHeader, digest: str
    ) -> types_pb2.MediaRef:
        if header.media_type in LINES:
            size = await asyncio.to_thread(lambda: path.stat().st_size)
            reference = types_pb2.MediaRef(media_type=header.media_type, size_bytes=size)
        else:
            reference = await self._facts.read(path, header.modality, header.media_type, "chunk")
            await self._intake.check_media(tenant, reference, path, "chunk")
        reference.sha256 = digest
        reference.object = upload_object(digest)
        await self._intake.keep(tenant, reference, path)
        return reference

    def _tenant(self, context: Any) -> str:
        return call_of(context, self._limits.deadline_ms).tenant

    def _expiry(self) -> timestamp_pb2.Timestamp:
        expiry = timestamp_pb2.Timestamp()
        expiry.FromMilliseconds(now_ms() + self._settings.url_s * 1000)
        return expiry


def _pending_key(tenant: str, upload_id: str) -> str:
    return f"{tenant}/pending/{upload_id}"


def _header_key(tenant: str, upload_id: str) -> str:
    return f"{tenant}/pending-headers/{upload_id}"


async def _chunks(pieces: AsyncIterator[bytes]) -> AsyncIterator[media_service_pb2.UploadRequest]:
    async for piece in pieces:
        yield media_service_pb2.UploadRequest(chunk=piece)
