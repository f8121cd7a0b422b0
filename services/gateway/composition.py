"""Composition: what is done for a request in each phase, as far as its journal says that it is not done yet."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from anygpt import topology
from anygpt.bus import Bus
from anygpt.errors import AnyGPTError, DeadlineExpired, Exhausted, Precondition, Unavailable
from anygpt.memory import Memory
from anygpt.metrics import REQUESTS, TOKENS
from anygpt.pack import Pack
from anygpt.stage import now_ms
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2
from anygpt.voice import Voice
from services.gateway.conversations import Conversations
from services.gateway.errand import Errand
from services.gateway.memory_keys import encodings_folder
from services.gateway.phase import Phase
from services.gateway.prompt import PromptWriter
from services.gateway.read_as import as_read, different_media

RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Parts:
    """What a composition works with."""

    bus: Bus
    memory: Memory
    pack: Pack
    writer: PromptWriter
    conversations: Conversations
    cache_s: float


class Composition:
    """Takes the steps of requests. Every step may be taken again, by this owner or by the next."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def step(self, errand: Errand) -> None:
        """Take the next step that the journal allows. Raises AnyGPTError when the request cannot go on."""
        fold = errand.fold
        if fold.is_ended or errand.is_terminated or errand.is_another_s:
            return
        if not errand.is_claimed:
            await self._voice(errand).say(0, claimed=bus_pb2.AttemptClaimed())
            errand.is_claimed = True
        if fold.cancel is not None or fold.failure is not None or errand.crash is not None:
            await self._cut(errand)
        elif now_ms() >= errand.call.deadline_ms:
            await self._expire(errand)
        elif fold.phase is Phase.DECODING:
            if fold.is_answered:
                await self._finish(errand)
        elif not errand.is_composed and not fold.has_generator:
            await self._prepare(errand)

    async def fail(self, errand: Errand, error: AnyGPTError) -> None:
        """End a request that cannot go on."""
        failed = anygpt_service_pb2.Failed(
            failure=error.to_failure(topology.GATEWAY), usage=errand.fold.usage
        )
        await self._terminate(errand, failed=failed)

    async def _cut(self, errand: Errand) -> None:
        """End a request that was cancelled or that a stage could not serve."""
        cancel, failure, crash = errand.fold.cancel, errand.fold.failure, errand.crash
        if crash is not None:
            await self._stop(errand, crash.reason)
            await self.fail(errand, crash)
        elif cancel is not None:
            await self._stop(errand, cancel.reason)
            cancelled = anygpt_service_pb2.Cancelled(reason=cancel.reason, usage=errand.fold.usage)
            await self._terminate(errand, cancelled=cancelled)
        elif failure is not None and failure.code == DeadlineExpired("").code:
            await self._expire(errand)
        elif failure is not None:
            await self._stop(errand, failure.reason)
            failed = anygpt_service_pb2.Failed(failure=_as_asked(errand, failure), usage=errand.fold.usage)
            await self._terminate(errand, failed=failed)

    async def _expire(self, errand: Errand) -> None:
        reason = DeadlineExpired.default_reason
        await self._stop(errand, reason)
        expired = anygpt_service_pb2.Expired(usage=errand.fold.usage, reason=reason)
        await self._terminate(errand, expired=expired)

    async def _prepare(self, errand: Errand) -> None:
        """Send the media that are to be encoded; when all are, the prompt."""
        if errand.media is None:
            await self._encode(errand)
        assert errand.media is not None
        if len(errand.fold.encoded) >= len(errand.media):
            await self._compose(errand, errand.media)

    async def _encode(self, errand: Errand) -> None:
        request = errand.accepted.request
        if request.conversation_id:
            record = await self._parts.conversations.get(errand.accepted.tenant, request.conversation_id)
            errand.turns = [turn for turn in record.turns if turn.request_id != errand.fold.request_id]
        media = self._media_of(errand)
        voice = self._voice(errand)
        for i, part in enumerate(media):
            if i in errand.fold.encoded:
                continue
            cached = await self._remembered(errand, part)
            if cached is not None:
                await voice.say(i, encoded=cached)
                continue
            work = stages_pb2.EncodeRequest(
                modality=part.modality, media=part.media, vocabulary_digest=self._parts.pack.vocabulary.digest
            )
            await voice.send(_topic(errand, topology.ENCODERS[part.modality]), work, i)
        await voice.flush()
        errand.media = media

    def _media_of(self, errand: Errand) -> list[types_pb2.Part]:
        """Each once for each modality that it is read as; those of the message come first, as the fold expects."""
        message = list(errand.accepted.request.parts)
        history = [part for turn in errand.turns for part in (*turn.parts, *turn.answer)]
        found = different_media((*message, *history))
        return [part for part in found if part.modality in self._parts.pack.inputs]

    async def _compose(self, errand: Errand, media: list[types_pb2.Part]) -> None:
        accepted, request = errand.accepted, errand.accepted.request
        encodings = {as_read(part): errand.fold.encoded[i] for i, part in enumerate(media)}
        prompt = self._parts.writer.write(request, errand.turns, encodings)
        work = stages_pb2.GenerateTokensRequest(
            prompt=prompt.segments,
            want=request.want,
            closed=accepted.closed,
            seed=accepted.seed,
            sampling=request.sampling,
            vocabulary_digest=self._parts.pack.vocabulary.digest,
            priority=request.priority,
            decode=stages_pb2.DecodeSettings(output=request.output, voice=request.voice),
        )
        composed = anygpt_service_pb2.PromptComposed(
            prompt_tokens=prompt.tokens, dropped_turns=prompt.dropped_turns
        )
        voice = self._voice(errand)
        await voice.send(topology.REPLIES, bus_pb2.Reply(composed=composed), 0)
        await voice.send(_topic(errand, topology.GENERATOR), work, 0)
        await voice.flush()
        errand.is_composed = True
        await self._remember(errand, media)

    async def _remembered(self, errand: Errand, part: types_pb2.Part) -> bus_pb2.Encoded | None:
        """The encoding, where the memory has it; it may be away."""
        with suppress(Unavailable):
            cached = await self._parts.memory.get(self._cache_key(errand, part))
            return None if cached is None else bus_pb2.Encoded.FromString(cached)
        return None

    async def _remember(self, errand: Errand, media: list[types_pb2.Part]) -> None:
        with suppress(Unavailable):
            for i, part in enumerate(media):
                encoded = errand.fold.encoded[i]
                # What is blank in a conversation is an error in a message.
                if encoded.outputs:
                    key, content = self._cache_key(errand, part), encoded.SerializeToString()
                    await self._parts.memory.set(key, content, self._parts.cache_s)

    async def _finish(self, errand: Errand) -> None:
        fold = errand.fold
        failed = [span for span in fold.spans.values() if span.is_failed]
        if failed and len(failed) == len(fold.spans):
            raise AnyGPTError("no span of the answer could be made", reason="ALL_SPANS_FAILED")
        await self._keep_turn(errand)
        assert fold.generation is not None
        finished = anygpt_service_pb2.Finished(reason=fold.generation.reason, usage=fold.usage)
        await self._terminate(errand, finished=finished)

    async def _keep_turn(self, errand: Errand) -> None:
        accepted, request = errand.accepted, errand.accepted.request
        if not request.conversation_id:
            return
        turn = anygpt_service_pb2.Turn(request_id=errand.fold.request_id, parts=request.parts)
        turn.created_at.CopyFrom(accepted.accepted_at)
        for _, span in sorted(errand.fold.spans.items()):
            if span.media is not None:
                turn.answer.add(modality=span.modality, media=span.media)
            elif span.text:
                turn.answer.add(modality=topology.TEXT, text=span.text)
        await self._parts.conversations.append(accepted.tenant, request.conversation_id, turn)

    async def _terminate(self, errand: Errand, **outcome: object) -> None:
        if errand.is_terminated:
            return None
        errand.is_terminated = True
        terminal = bus_pb2.Terminal(**outcome)  # type: ignore[arg-type]
        accepted, request_id = errand.accepted, errand.fold.request_id
        if accepted.request.conversation_id:
            # A claim that cannot be given back ends by itself, with the deadline.
            with suppress(Unavailable):
                conversation_id = accepted.request.conversation_id
                await self._parts.conversations.release(accepted.tenant, conversation_id, request_id)
        REQUESTS.labels(terminal.WhichOneof("outcome")).inc()
        for kind in ("prompt", "cached", "generated"):
            TOKENS.labels(kind).inc(getattr(errand.fold.usage, f"{kind}_tokens"))
        while True:
            try:
                return await self._voice(errand).say(0, terminal=terminal)
            except (Unavailable, Exhausted):
                await asyncio.sleep(RETRY_S)

    async def _stop(self, errand: Errand, reason: str) -> None:
        """Have every stage drop the request."""
        order = types_pb2.CancelOrder(request_id=errand.fold.request_id, reason=reason)
        voice = self._voice(errand)
        await voice.send(topology.CONTROL, bus_pb2.Control(cancel=order), 0)
        await voice.flush()

    def _voice(self, errand: Errand) -> Voice:
        return Voice(self._parts.bus, topology.GATEWAY, errand.call)

    def _cache_key(self, errand: Errand, part: types_pb2.Part) -> str:
        if not part.media.sha256:
            raise Precondition("media without a digest", reason="MEDIA_UNDIGESTED", field="parts")
        name = topology.MODALITY_NAMES[part.modality]
        return (
            f"{encodings_folder(errand.accepted.tenant, part.media.sha256)}{name}/{self._parts.pack.digest}"
        )


def _topic(errand: Errand, entry: topology.StageEntry) -> str:
    return entry.batch_topic if errand.call.is_batch else entry.topic


def _as_asked(errand: Errand, failure: types_pb2.Failure) -> types_pb2.Failure:
    """An encoder's failure with the field that the client filled: the encoder knows no more than its own message."""
    place = errand.fold.unencoded
    if place is None or not errand.media or place >= len(errand.media):
        return failure
    media, parts = as_read(errand.media[place]), errand.accepted.request.parts
    found = [f"parts[{i}].media" for i, part in enumerate(parts) if as_read(part) == media]
    told = types_pb2.Failure()
    told.CopyFrom(failure)
    told.field = found[0] if found else "conversation_id"
    return told
