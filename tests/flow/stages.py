"""Stages that do no work: every answer is a function of the request, so that the pipeline itself can be judged."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

from anygpt import topology
from anygpt.errors import InvalidInput
from anygpt.identity import object_key
from anygpt.main import Runtime, Service
from anygpt.settings import ServiceSettings
from anygpt.stage import Call, Stage
from anygpt.store import Store
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from tests.flow.media import HANG_WIDTH, REFUSE_WIDTH

Output = stages_pb2.GenerateTokensResponse
MADE_AUDIO = b"audio "
"""How audio begins that a plain decoder made: the plain encoder hears nothing in it."""


class PlainEncoder(Stage[stages_pb2.EncodeRequest, stages_pb2.EncodeResponse]):
    """Speech becomes codes, other media features; both name the media by its digest."""

    def __init__(self, modality: topology.Modality, store: Store) -> None:
        self._modality = modality
        self._store = store

    async def handle(
        self, requests: AsyncIterator[stages_pb2.EncodeRequest], call: Call
    ) -> AsyncIterator[stages_pb2.EncodeResponse]:
        """One response."""
        request = await anext(requests)
        call.check()
        data = request.inline.data or await self._store.get(
            object_key(call.tenant, request.media.object), 1 << 24
        )
        digest = hashlib.sha256(data).digest()
        if request.media.width == REFUSE_WIDTH:
            raise InvalidInput("as asked", reason="REFUSED", field="media")
        if data.startswith(MADE_AUDIO):
            raise InvalidInput("nothing is heard", reason="MEDIA_BLANK", field="media")
        while request.media.width == HANG_WIDTH:
            call.check()
            await asyncio.sleep(0.01)
        if self._modality == topology.SPEECH:
            codes = types_pb2.Codes(modality=self._modality, ids=[byte % 64 for byte in digest[:8]])
            yield stages_pb2.EncodeResponse(codes=codes)
        else:
            tensor = types_pb2.Tensor(dtype="float16", shape=[4, 8], data=digest * 2)
            features = types_pb2.Features(modality=self._modality, tensor=tensor)
            yield stages_pb2.EncodeResponse(features=features)


class ScriptedGenerator(Stage[stages_pb2.GenerateTokensRequest, Output]):
    """Does what the last text of the prompt says, word by word: a modality's name makes such a span.

    Other words are answered as text; `slow` waits 50 ms, `hang` waits for the deadline or a cancel, `crash` raises
    what nobody expects, `refuse` raises InvalidInput, `recall` tells how many segments the prompt has, `digest` names
    all of the prompt.
    """

    async def handle(
        self, requests: AsyncIterator[stages_pb2.GenerateTokensRequest], call: Call
    ) -> AsyncIterator[Output]:
        """Text and spans."""
        request = await anext(requests)
        call.check()
        words = self._words(request)
        index = 0
        if not request.want or topology.TEXT in request.want:
            yield Output(span_index=0, span_opened=stages_pb2.SpanOpened(modality=topology.TEXT))
            for place, word in enumerate(words):
                if place >= len(request.forced_ids):
                    await self._obey(word, words, call)
                yield Output(span_index=0, text=stages_pb2.TextChunk(text=self._said(word, request), ids=[1]))
            yield Output(span_index=0, span_closed=stages_pb2.SpanClosed())
            index = 1
        asked = request.want or [topology.MODALITIES[w] for w in words if w in topology.MODALITIES]
        for modality in asked:
            if modality not in (topology.TEXT, *request.closed):
                for output in self._span(index, modality, request.seed):
                    yield output
                index += 1
        usage = types_pb2.Usage(generated_tokens=len(words), prompt_tokens=len(request.prompt))
        finished = stages_pb2.GenerationFinished(
            reason=anygpt_service_pb2.FINISH_REASON_COMPLETE, usage=usage
        )
        yield Output(finished=finished)

    @staticmethod
    def _words(request: stages_pb2.GenerateTokensRequest) -> list[str]:
        texts = [segment.text for segment in request.prompt if segment.HasField("text")]
        return texts[-1].split() if texts else ["nothing"]

    @staticmethod
    def _said(word: str, request: stages_pb2.GenerateTokensRequest) -> str:
        if word == "recall":
            return f"recall:{len(request.prompt)} "
        if word == "digest":
            prompt = b"".join(segment.SerializeToString(deterministic=True) for segment in request.prompt)
            return f"digest:{hashlib.sha256(prompt).hexdigest()[:12]} "
        return f"{word} "

    @staticmethod
    async def _obey(word: str, words: list[str], call: Call) -> None:
        if word == "slow":
            await asyncio.sleep(0.05)
        while word == "hang":
            call.check()
            await asyncio.sleep(0.01)
        if word == "crash":
            raise RuntimeError(f"cannot say {words}")
        if word == "refuse":
            raise InvalidInput("as asked", reason="REFUSED", field="prompt")

    @staticmethod
    def _span(index: int, modality: topology.Modality, seed: int) -> list[Output]:
        opened = Output(span_index=index, span_opened=stages_pb2.SpanOpened(modality=modality))
        closed = Output(span_index=index, span_closed=stages_pb2.SpanClosed())
        if modality == topology.SPEECH:
            pieces = [
                Output(span_index=index, codes=types_pb2.Codes(modality=modality, ids=[seed % 64, i]))
                for i in range(3)
            ]
        else:
            tensor = types_pb2.Tensor(dtype="float32", shape=[1, 8], data=seed.to_bytes(32, "little"))
            pieces = [Output(span_index=index, signals=types_pb2.Signals(modality=modality, tensor=tensor))]
        return [opened, *pieces, closed]


class PlainDecoder(Stage[stages_pb2.DecodeRequest, stages_pb2.DecodeResponse]):
    """Media that says what was asked: seed, modality and all codes or signals, as JSON-like text."""

    def __init__(self, modality: topology.Modality) -> None:
        self._modality = modality

    async def handle(
        self, requests: AsyncIterator[stages_pb2.DecodeRequest], call: Call
    ) -> AsyncIterator[stages_pb2.DecodeResponse]:
        """Progress, chunks while codes come, and the media."""
        told = hashlib.sha256()
        name = topology.MODALITY_NAMES[self._modality]
        voice, chunks = "", 0
        async for request in requests:
            call.check()
            if chunks != request.chunk_index:
                raise InvalidInput("chunks out of order", field="chunk_index")
            voice = voice or request.voice
            told.update(bytes(request.codes.ids) + request.signals.tensor.data)
            chunk = anygpt_service_pb2.MediaChunk(data=b"..", media_type="audio/l16", index=chunks)
            chunks += 1
            if self._modality == topology.SPEECH:
                yield stages_pb2.DecodeResponse(chunk=chunk)
        while voice == "mute":
            call.check()
            await asyncio.sleep(0.01)
        progress = anygpt_service_pb2.Progress(stage=f"{name}_decoder", done=1, total=1)
        yield stages_pb2.DecodeResponse(progress=progress)
        if voice == "amy" and self._modality == topology.SPEECH:
            raise InvalidInput("amy is hoarse", reason="REFUSED", field="voice")
        reference = types_pb2.MediaRef(media_type=f"{name}/plain")
        ready = anygpt_service_pb2.MediaReady(media=reference)
        data = f"{name} {told.hexdigest()}".encode()
        yield stages_pb2.DecodeResponse(media=stages_pb2.DecodedMedia(data=data, ready=ready))


def _builder(entry: topology.StageEntry) -> Any:
    def build(settings: ServiceSettings, runtime: Runtime) -> Stage[Any, Any]:
        if entry.modality is None:
            return ScriptedGenerator()
        if entry.kind is topology.Kind.ENCODER:
            return PlainEncoder(entry.modality, runtime.store)
        return PlainDecoder(entry.modality)

    return build


def plain_services() -> list[Service]:
    """The nine stages."""
    return [Service(entry.name, ServiceSettings, _builder(entry), 64) for entry in topology.STAGES.values()]
