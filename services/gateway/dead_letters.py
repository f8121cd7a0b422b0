"""DeadLetterService: what operators do with messages that a stage could not handle."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from anygpt import topology
from anygpt.bus import REQUEST_HEADER, TENANT_HEADER, Bus
from anygpt.dead import purge, read_letters
from anygpt.errors import InvalidInput, NotFound
from anygpt.grpc_door import call_of
from anygpt.identity import new_request_id
from anygpt.stage import Call, now_ms
from anygpt.v1 import bus_pb2, dead_letter_service_pb2, dead_letter_service_pb2_grpc
from anygpt.voice import Voice
from services.gateway.conversations import Conversations
from services.gateway.settings import Settings
from services.gateway.streams import Streams

Letters = dict[str, tuple[topology.StageEntry, bus_pb2.DeadLetter]]
"""Letters with their stage, by id."""


class DeadLetterServicer(dead_letter_service_pb2_grpc.DeadLetterServiceServicer):
    """Lists, shows, replays and purges the letters of the caller's tenant."""

    def __init__(self, settings: Settings, bus: Bus, streams: Streams, conversations: Conversations) -> None:
        self._settings = settings
        self._bus = bus
        self._streams = streams
        self._conversations = conversations

    async def ListDeadLetters(
        self, request: Any, context: Any
    ) -> dead_letter_service_pb2.ListDeadLettersResponse:
        """See DeadLetterService."""
        letters = await self._letters(self._call(context), request.stage)
        summaries = [
            dead_letter_service_pb2.DeadLetterSummary(
                letter_id=letter_id,
                stage=entry.name,
                request_id=letter.headers.get(REQUEST_HEADER, ""),
                failure=letter.failure,
                failed_at=letter.failed_at,
                size_bytes=len(letter.value),
            )
            for letter_id, (entry, letter) in letters.items()
        ]
        summaries.sort(key=lambda one: one.failed_at.ToNanoseconds())
        return dead_letter_service_pb2.ListDeadLettersResponse(letters=summaries)

    async def GetDeadLetter(
        self, request: Any, context: Any
    ) -> dead_letter_service_pb2.GetDeadLetterResponse:
        """See DeadLetterService."""
        _, letter = await self._letter(self._call(context), request.letter_id)
        return dead_letter_service_pb2.GetDeadLetterResponse(letter=letter)

    async def ReplayDeadLetter(
        self, request: Any, context: Any
    ) -> dead_letter_service_pb2.ReplayDeadLetterResponse:
        """See DeadLetterService."""
        call = self._call(context)
        entry, letter = await self._letter(call, request.letter_id)
        accepted = await self._accepted(letter.headers.get(REQUEST_HEADER, ""), call.tenant)
        life_ms = accepted.deadline.ToMilliseconds() - accepted.accepted_at.ToMilliseconds()
        again = Call(new_request_id(), call.tenant, now_ms() + life_ms, attempt=call.attempt)
        if conversation_id := accepted.request.conversation_id:
            await self._conversations.claim(call.tenant, conversation_id, again.request_id, life_ms / 1000)
        accepted.accepted_at.GetCurrentTime()
        accepted.deadline.FromMilliseconds(again.deadline_ms)
        await Voice(self._bus, topology.GATEWAY, again).say(0, accepted=accepted)
        await purge(self._bus, entry, request.letter_id)
        return dead_letter_service_pb2.ReplayDeadLetterResponse(request_id=again.request_id)

    async def PurgeDeadLetters(
        self, request: Any, context: Any
    ) -> dead_letter_service_pb2.PurgeDeadLettersResponse:
        """See DeadLetterService."""
        call = self._call(context)
        if request.HasField("letter_id"):
            entry, letter = await self._letter(call, request.letter_id)
            letters = {request.letter_id: (entry, letter)}
        elif request.stage:
            letters = await self._letters(call, request.stage)
        else:
            raise InvalidInput("name a letter or a stage", field="which")
        for letter_id, (entry, _) in letters.items():
            await purge(self._bus, entry, letter_id)
        return dead_letter_service_pb2.PurgeDeadLettersResponse(purged=len(letters))

    def _call(self, context: Any) -> Call:
        return call_of(context, self._settings.limits.deadline_ms)

    async def _letters(self, call: Call, stage: str = "") -> Letters:
        if stage and stage not in topology.STAGES:
            raise InvalidInput("there is no such stage", field="stage")
        entries = [topology.STAGES[stage]] if stage else topology.STAGES.values()
        return {
            letter_id: (entry, letter)
            for entry in entries
            for letter_id, letter in (await read_letters(self._bus, entry)).items()
            if letter.headers.get(TENANT_HEADER) == call.tenant
        }

    async def _letter(self, call: Call, letter_id: str) -> tuple[topology.StageEntry, bus_pb2.DeadLetter]:
        found = (await self._letters(call)).get(letter_id)
        if found is None:
            raise NotFound("there is no such letter", field="letter_id")
        return found

    async def _accepted(self, request_id: str, tenant: str) -> bus_pb2.Accepted:
        """How a request was admitted. Raises NotFound or OutOfRange when the journal does not have it."""
        async with aclosing(self._streams.history(request_id, tenant)) as history:
            async for reply, _ in history:
                if reply.HasField("accepted"):
                    return reply.accepted
        raise NotFound("there is no such request", field="letter_id")
