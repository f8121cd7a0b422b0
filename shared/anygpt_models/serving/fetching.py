"""The bytes that an encoder was sent, inline or by reference."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from anygpt.errors import DataLoss, InvalidInput, NotFound, TooLarge
from anygpt.identity import object_key
from anygpt.settings import LimitSettings
from anygpt.stage import Call
from anygpt.store import Store
from anygpt.v1 import stages_pb2, types_pb2
from anygpt_models.input import Source, refusal


@dataclass(frozen=True, slots=True)
class Fetched:
    """Media at hand, and the media type that the request claims."""

    source: Source
    claim: str


class Fetcher:
    """Reads media from a request, or from the tenant's own objects."""

    def __init__(self, store: Store, limits: LimitSettings) -> None:
        self._store = store
        self._limits = limits

    async def fetch(self, request: stages_pb2.EncodeRequest, call: Call) -> Fetched:
        """Raises InvalidInput, TooLarge, NotFound, and DataLoss when the bytes are not those of the reference."""
        if request.HasField("inline"):
            return self._inline(request.inline)
        if request.HasField("media"):
            return await self._referred(request.media, call)
        raise InvalidInput("there are no media in the request", reason=refusal.EMPTY, field="inline")

    def _inline(self, inline: types_pb2.InlineMedia) -> Fetched:
        if len(inline.data) > self._limits.inline_bytes:
            raise refusal.too_large(
                f"inline media have at most {self._limits.inline_bytes} bytes", "inline.data"
            )
        return Fetched(Source(inline.data, self._limits, "inline.data"), inline.media_type)

    async def _referred(self, media: types_pb2.MediaRef, call: Call) -> Fetched:
        key = object_key(call.tenant, media.object, "media.object")
        try:
            data = await self._store.get(key, self._limits.media_bytes)
        except NotFound:
            raise NotFound("there is no such object", field="media.object") from None
        except TooLarge as error:
            raise refusal.too_large(error.message, "media.object") from None
        if media.size_bytes and len(data) != media.size_bytes:
            raise DataLoss("the object has not the size of its reference", field="media.size_bytes")
        if media.sha256 and await asyncio.to_thread(_digest, data) != media.sha256:
            raise DataLoss("the object is not what its sha256 says", field="media.sha256")
        return Fetched(Source(data, self._limits, "media"), media.media_type)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
