"""Routes: where the responses of each kind of stage go on the bus. The gRPC door needs none of it."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from google.protobuf.message import Message

from anygpt import topology
from anygpt.attempts import Past
from anygpt.errors import Unavailable
from anygpt.identity import media_object, object_key, ref_key
from anygpt.keeping import keep_media
from anygpt.stage import Call
from anygpt.store import Store
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2

STORE_RETRY_S = 0.2
Body: TypeAlias = bus_pb2.Reply
"""A Reply of which only the body is filled in: the door knows the rest."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message to publish: a record of the journal (`Reply`) or work for the next stage."""

    topic: str
    message: Message
    span_index: int


class Route(Protocol):
    """Turns a stage's stream of responses into messages on the bus. One instance per request."""

    async def outgoing(self, response: Any) -> Sequence[Outgoing]:
        """The messages that one response becomes."""
        ...

    async def finished(self) -> Sequence[Outgoing]:
        """The messages that stand after the last response."""
        ...

    async def abandoned(self) -> None:
        """The request is not wanted any more: remove what was stored for it."""
        ...


class EncoderRoute:
    """All of one media part becomes one record, so that the gateway sees it whole or not at all."""

    def __init__(self, request: stages_pb2.EncodeRequest, span_index: int) -> None:
        self._span_index = span_index
        self._encoded = bus_pb2.Encoded(sha256=request.media.sha256)

    async def outgoing(self, response: stages_pb2.EncodeResponse) -> Sequence[Outgoing]:
        """Nothing yet."""
        self._encoded.outputs.append(response)
        self._encoded.encode_ms += response.encode_ms
        return ()

    async def finished(self) -> Sequence[Outgoing]:
        """The record."""
        return [Outgoing(topology.REPLIES, Body(encoded=self._encoded), self._span_index)]

    async def abandoned(self) -> None:
        """Nothing is stored."""


class GeneratorRoute:
    """Text and the marks of spans go to the journal; the content of media spans goes to their decoders."""

    def __init__(self, request: stages_pb2.GenerateTokensRequest, past: Past) -> None:
        self._request = request
        self._past = past
        self._open: topology.Modality = types_pb2.MODALITY_TEXT
        self._chunks = 0
        self._pending: stages_pb2.DecodeRequest | None = None

    async def outgoing(self, response: stages_pb2.GenerateTokensResponse) -> Sequence[Outgoing]:
        """Work for a decoder, a record of the journal, or both.

        Streamed codes leave at once, and an empty last piece ends the span; other spans leave whole, when they end.
        """
        kind = response.WhichOneof("output")
        if kind in ("codes", "signals"):
            piece = self._piece(response)
            if kind == "codes" and self._open in topology.STREAMED:
                return self._work(piece)
            if self._pending is None:
                self._pending = piece
            else:
                self._pending.codes.ids.extend(response.codes.ids)
            return ()
        sent: list[Outgoing] = []
        if kind == "span_opened":
            self._open, self._chunks = response.span_opened.modality, 0
        if kind == "span_closed" and self._open in topology.DECODERS:
            last = self._pending or self._piece(response)
            self._pending = None
            last.is_last = True
            sent = self._work(last)
        return [*sent, Outgoing(topology.REPLIES, Body(generated=response), response.span_index)]

    async def finished(self) -> Sequence[Outgoing]:
        """Nothing: the generator says itself that it has finished."""
        return ()

    async def abandoned(self) -> None:
        """Nothing is stored."""

    def _piece(self, response: stages_pb2.GenerateTokensResponse) -> stages_pb2.DecodeRequest:
        piece = stages_pb2.DecodeRequest(
            modality=self._open, span_index=response.span_index, chunk_index=self._chunks
        )
        if response.HasField("signals"):
            piece.signals.CopyFrom(response.signals)
        else:
            piece.codes.modality = self._open
            piece.codes.ids.extend(response.codes.ids)
        if self._chunks == 0:
            self._add_settings(piece)
        self._chunks += 1
        return piece

    def _add_settings(self, piece: stages_pb2.DecodeRequest) -> None:
        piece.seed = self._request.seed
        piece.voice = self._request.decode.voice
        piece.vocabulary_digest = self._request.vocabulary_digest
        for options in self._request.decode.output:
            if options.modality == self._open:
                piece.options.CopyFrom(options)

    def _work(self, piece: stages_pb2.DecodeRequest) -> list[Outgoing]:
        """Work for the span's decoder, which has it already when an earlier attempt closed the span."""
        if piece.span_index in self._past.closed:
            return []
        entry = topology.DECODERS[piece.modality]
        is_batch = self._request.priority == types_pb2.PRIORITY_BATCH
        return [Outgoing(entry.batch_topic if is_batch else entry.topic, piece, piece.span_index)]


class DecoderRoute:
    """Progress and chunks go to the journal as they are; finished media goes to the store first."""

    def __init__(self, request: stages_pb2.DecodeRequest, call: Call, store: Store) -> None:
        self._span_index = request.span_index
        self._modality = request.modality
        self._call = call
        self._store = store
        self._keys: Sequence[str] = ()

    async def outgoing(self, response: stages_pb2.DecodeResponse) -> Sequence[Outgoing]:
        """A record of the journal, with media by reference."""
        if response.HasField("media"):
            await self._keep(response.media)
        return [Outgoing(topology.REPLIES, Body(decoded=response), self._span_index)]

    async def finished(self) -> Sequence[Outgoing]:
        """The end of the span."""
        done = anygpt_service_pb2.SpanFinished()
        return [Outgoing(topology.REPLIES, Body(span_finished=done), self._span_index)]

    async def abandoned(self) -> None:
        """Remove the media, of which nobody was told."""
        for key in self._keys:
            await self._store.delete(key)

    async def _keep(self, media: stages_pb2.DecodedMedia) -> None:
        reference = media.ready.media
        reference.sha256 = hashlib.sha256(media.data).hexdigest()
        reference.object = media_object(self._call.request_id, self._span_index, reference.sha256)
        reference.size_bytes = len(media.data)
        reference.modality = self._modality
        tenant, name = self._call.tenant, reference.object
        self._keys = (object_key(tenant, name), ref_key(tenant, name))
        await self._put(reference, media.data)
        media.data = b""
        self._call.check()

    async def _put(self, reference: types_pb2.MediaRef, data: bytes) -> None:
        """Write what was made; a store that is away is tried again, so that nothing is made twice."""
        while True:
            try:
                return await keep_media(self._store, self._call.tenant, reference, data)
            except Unavailable as error:
                if not error.retry_after_ms:
                    raise
            await asyncio.sleep(STORE_RETRY_S)
            self._call.check()


def resumed(request: Message, past: Past) -> Message:
    """The request as it goes on where earlier attempts have stopped."""
    if not isinstance(request, stages_pb2.GenerateTokensRequest) or not past.ids:
        return request
    longer = stages_pb2.GenerateTokensRequest()
    longer.CopyFrom(request)
    longer.forced_ids[:] = past.ids
    return longer


def new_route(request: Message, call: Call, span_index: int, past: Past, store: Store) -> Route:
    """The route for the kind of stage that takes such a request."""
    if isinstance(request, stages_pb2.EncodeRequest):
        return EncoderRoute(request, span_index)
    if isinstance(request, stages_pb2.GenerateTokensRequest):
        return GeneratorRoute(request, past)
    assert isinstance(request, stages_pb2.DecodeRequest)
    return DecoderRoute(request, call, store)
