"""The composer: takes each accepted request of its partitions from media to prompt to terminal event.

It acts on what the journal says and writes its decisions there, so another replica can go on where it stopped. It
alone writes terminal events.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from anygpt import topology
from anygpt.bus import Bus, Consumer
from anygpt.errors import AnyGPTError, Precondition, Unavailable
from anygpt.memory import Memory
from anygpt.metrics import REQUESTS, TOKENS
from anygpt.pack import Pack
from anygpt.stage import now_ms
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2
from anygpt.voice import Voice
from services.gateway.conversations import Conversations
from services.gateway.errand import Errand
from services.gateway.journal import Fold
from services.gateway.prompt import PromptWriter
from services.gateway.streams import parse_reply

log = logging.getLogger(__name__)
GROUP = topology.GATEWAY
UNFINISHED = 65_536
"""A request's terminal event stands behind all its records: the bound must not keep it from coming."""
TICK_S = 0.1
RETRY_S = 0.5
DEADLINE_CODE = 4
"""google.rpc.Code.DEADLINE_EXCEEDED."""
DECISIVE = frozenset({"accepted", "encoded", "span_finished", "failure", "cancel"})
"""Records after which there may be something to do."""
REPLAY_QUIET_MS = 1000
"""A record older than this when it is read is being replayed: decisions wait until the journal has caught up."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a composer works with."""

    bus: Bus
    memory: Memory
    pack: Pack
    writer: PromptWriter
    conversations: Conversations
    cache_s: float


class Composer:
    """Runs the requests of the partitions that this replica's membership in the group gives it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._errands: dict[str, Errand] = {}
        self._consumer: Consumer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """Requests without a terminal event."""
        return len(self._errands)

    async def open(self) -> None:
        """Join the group and begin."""
        self._consumer = await self._parts.bus.consume([topology.REPLIES], GROUP, UNFINISHED)
        self._tasks = [asyncio.create_task(self._read(self._consumer)), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """Leave the group; another replica goes on."""
        runners = [errand.runner for errand in self._errands.values() if errand.runner is not None]
        for task in (*self._tasks, *runners):
            task.cancel()
        await asyncio.gather(*self._tasks, *runners, return_exceptions=True)
        if self._consumer:
            await self._consumer.close()

    async def _read(self, consumer: Consumer) -> None:
        async for record in consumer:
            reply = parse_reply(record)
            errand = self._errand_of(reply) if reply else None
            if reply is None or errand is None:
                consumer.finish(record)
                continue
            errand.records.append(record)
            errand.fold.feed(reply)
            errand.is_replayed = now_ms() - record.timestamp_ms > REPLAY_QUIET_MS
            if errand.fold.is_ended:
                self._end(errand)
            elif not errand.is_replayed and _is_decisive(reply):
                self._poke(errand)

    def _errand_of(self, reply: bus_pb2.Reply) -> Errand | None:
        errand = self._errands.get(reply.request_id)
        if errand is None and reply.HasField("accepted"):
            errand = self._errands[reply.request_id] = Errand(Fold(reply.request_id))
        return errand

    def _end(self, errand: Errand) -> None:
        assert self._consumer is not None
        del self._errands[errand.fold.request_id]
        for record in errand.records:
            self._consumer.finish(record)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for errand in tuple(self._errands.values()):
                is_late = now_ms() >= errand.call.deadline_ms
                if is_late or errand.is_replayed:
                    errand.is_replayed = False
                    self._poke(errand)

    def _poke(self, errand: Errand) -> None:
        """Have the errand's next step taken, in a task of its own: no request waits for another's store."""
        errand.is_due = True
        if errand.runner is None:
            errand.runner = asyncio.create_task(self._run(errand))

    async def _run(self, errand: Errand) -> None:
        while errand.is_due:
            errand.is_due = False
            await self._act(errand)
        errand.runner = None

    async def _act(self, errand: Errand) -> None:
        """Take the next step that the journal allows; a failure here is the request's, never the composer's."""
        try:
            await self._step(errand)
        except AnyGPTError as error:
            failure = error.to_failure(topology.GATEWAY)
            await self._terminate(
                errand, failed=anygpt_service_pb2.Failed(failure=failure, usage=errand.fold.usage)
            )

    async def _step(self, errand: Errand) -> None:
        fold = errand.fold
        if fold.is_ended or errand.is_terminated:
            return
        if fold.cancel is not None:
            await self._stop(errand, fold.cancel.reason)
            cancelled = anygpt_service_pb2.Cancelled(reason=fold.cancel.reason, usage=fold.usage)
            await self._terminate(errand, cancelled=cancelled)
        elif fold.failure is not None:
            await self._fail(errand, fold.failure)
        elif now_ms() >= errand.call.deadline_ms:
            await self._stop(errand, "deadline")
            await self._terminate(errand, expired=anygpt_service_pb2.Expired(usage=fold.usage))
        elif fold.is_answered:
            await self._finish(errand)
        elif not errand.is_encoding:
            await self._encode(errand)
        elif not errand.is_composing and not fold.is_composed and len(fold.encoded) >= len(errand.media):
            await self._compose(errand)

    async def _fail(self, errand: Errand, failure: types_pb2.Failure) -> None:
        await self._stop(errand, "failed")
        if failure.code == DEADLINE_CODE:
            await self._terminate(errand, expired=anygpt_service_pb2.Expired(usage=errand.fold.usage))
        else:
            failed = anygpt_service_pb2.Failed(failure=failure, usage=errand.fold.usage)
            await self._terminate(errand, failed=failed)

    async def _encode(self, errand: Errand) -> None:
        errand.is_encoding = True
        request = errand.accepted.request
        if request.conversation_id:
            record = await self._parts.conversations.get(errand.accepted.tenant, request.conversation_id)
            errand.turns = [turn for turn in record.turns if turn.request_id != errand.fold.request_id]
        errand.media = self._media_of(errand)
        voice = self._voice(errand)
        for i, part in enumerate(errand.media):
            if i in errand.fold.encoded:
                continue
            cached = await self._parts.memory.get(self._cache_key(errand, part))
            if cached is not None:
                await voice.say(i, encoded=bus_pb2.Encoded.FromString(cached))
                continue
            work = stages_pb2.EncodeRequest(
                modality=part.modality, media=part.media, vocabulary_digest=self._parts.pack.vocabulary.digest
            )
            await voice.send(self._topic(errand, topology.ENCODERS[part.modality]), work, i)
        await voice.flush()
        if not errand.media:
            await self._compose(errand)

    def _media_of(self, errand: Errand) -> list[types_pb2.Part]:
        message = list(errand.accepted.request.parts)
        history = [part for turn in errand.turns for part in (*turn.parts, *turn.answer)]
        found = {p.media.object: p for p in (*history, *message) if p.HasField("media")}
        return [part for part in found.values() if part.modality in self._parts.pack.inputs]

    async def _compose(self, errand: Errand) -> None:
        errand.is_composing = True
        accepted, request = errand.accepted, errand.accepted.request
        encodings = {part.media.object: errand.fold.encoded[i] for i, part in enumerate(errand.media)}
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
        voice = self._voice(errand)
        await voice.send(self._topic(errand, topology.GENERATOR), work, 0)
        composed = anygpt_service_pb2.PromptComposed(
            prompt_tokens=prompt.tokens, dropped_turns=prompt.dropped_turns
        )
        await voice.say(0, composed=composed)
        await self._remember(errand)

    async def _remember(self, errand: Errand) -> None:
        for i, part in enumerate(errand.media):
            encoded = errand.fold.encoded[i].SerializeToString()
            await self._parts.memory.set(self._cache_key(errand, part), encoded, self._parts.cache_s)

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
                turn.answer.add(modality=topology.TEXT, text="".join(span.text))
        await self._parts.conversations.append(accepted.tenant, request.conversation_id, turn)

    async def _terminate(self, errand: Errand, **outcome: object) -> None:
        if errand.is_terminated:
            return None
        errand.is_terminated = True
        terminal = bus_pb2.Terminal(**outcome)  # type: ignore[arg-type]
        request = errand.accepted.request
        if request.conversation_id:
            tenant = errand.accepted.tenant
            await self._parts.conversations.release(tenant, request.conversation_id, errand.fold.request_id)
        REQUESTS.labels(terminal.WhichOneof("outcome")).inc()
        for kind in ("prompt", "cached", "generated"):
            TOKENS.labels(kind).inc(getattr(errand.fold.usage, f"{kind}_tokens"))
        while True:
            try:
                return await self._voice(errand).say(0, terminal=terminal)
            except Unavailable:
                await asyncio.sleep(RETRY_S)

    async def _stop(self, errand: Errand, reason: str) -> None:
        order = types_pb2.CancelOrder(request_id=errand.fold.request_id, reason=reason)
        voice = self._voice(errand)
        await voice.send(topology.CONTROL, bus_pb2.Control(cancel=order), 0)
        await voice.flush()

    def _voice(self, errand: Errand) -> Voice:
        return Voice(self._parts.bus, topology.GATEWAY, errand.call)

    def _topic(self, errand: Errand, entry: topology.StageEntry) -> str:
        return entry.batch_topic if errand.call.is_batch else entry.topic

    def _cache_key(self, errand: Errand, part: types_pb2.Part) -> str:
        if not part.media.sha256:
            raise Precondition("media without a digest", reason="MEDIA_UNDIGESTED", field="parts")
        name = topology.MODALITY_NAMES[part.modality]
        return f"encoded/{errand.accepted.tenant}/{part.media.sha256}/{name}/{self._parts.pack.digest}"


def _is_decisive(reply: bus_pb2.Reply) -> bool:
    return reply.WhichOneof("body") in DECISIVE or reply.generated.HasField("finished")
