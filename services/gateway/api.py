"""AnyGPTService: the public door of the gateway."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from google.protobuf import timestamp_pb2

from anygpt import topology
from anygpt.answer import TERMINALS, Event
from anygpt.bus import Bus
from anygpt.errors import AnyGPTError, DeadlineExpired, Exhausted, NotFound, OutOfRange, Unavailable
from anygpt.grpc_door import call_of
from anygpt.identity import new_request_id
from anygpt.memory import Memory
from anygpt.metrics import REQUESTS_RUNNING
from anygpt.stage import Call, now_ms
from anygpt.store import Store
from anygpt.v1 import anygpt_service_pb2, anygpt_service_pb2_grpc, bus_pb2, types_pb2
from anygpt.voice import Voice
from services.gateway.admission import Admission
from services.gateway.conversations import Conversations
from services.gateway.description import Description
from services.gateway.erasure import Erasure
from services.gateway.idempotency import IdempotencyKeys
from services.gateway.memory_keys import client_key
from services.gateway.prompt import PromptWriter
from services.gateway.quota import Quota
from services.gateway.settings import Settings
from services.gateway.story import read_story
from services.gateway.streams import Streams

Context = Any
RETRY_MS = 500
FOLLOW_S = 5.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What the public door works with."""

    settings: Settings
    bus: Bus
    store: Store
    memory: Memory
    admission: Admission
    quota: Quota
    keys: IdempotencyKeys
    writer: PromptWriter
    conversations: Conversations
    erasure: Erasure
    streams: Streams
    description: Description


class AnyGPTServicer(anygpt_service_pb2_grpc.AnyGPTServiceServicer):
    """Admits requests, streams their events, and keeps conversations."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._clients: dict[str, _Client] = {}
        """Streams under way here, by attempt."""
        self._leaving: set[asyncio.Task[None]] = set()
        self.is_draining = False
        self._beginning = 0

    @property
    def running(self) -> int:
        """Requests that begin and streams under way at this replica."""
        return self._beginning + len(self._clients)

    async def Generate(
        self, request: anygpt_service_pb2.GenerateRequest, context: Context
    ) -> AsyncIterator[anygpt_service_pb2.GenerateResponse]:
        """See AnyGPTService."""
        call = call_of(context, self._parts.settings.limits.deadline_ms)
        own_id = call.request_id = new_request_id()
        with self._begins():
            call.request_id = await self._claim(request, call)
        if call.request_id != own_id:
            with suppress(NotFound):
                async for event in self._resumed(call, 0, self._grace_ms(request), context):
                    yield anygpt_service_pb2.GenerateResponse(event=event)
                return
        with self._parts.streams.watch(call.request_id) as watch:
            with self._begins():
                client = await self._accept(request, call, context, is_own=call.request_id == own_id)
            async for event in watch.events():
                client.see(event)
                yield anygpt_service_pb2.GenerateResponse(event=event)

    async def Resume(
        self, request: anygpt_service_pb2.ResumeRequest, context: Context
    ) -> AsyncIterator[anygpt_service_pb2.ResumeResponse]:
        """See AnyGPTService."""
        call = call_of(context, self._parts.settings.limits.deadline_ms)
        call.request_id = request.request_id
        async for event in self._resumed(call, request.after_seq, None, context):
            yield anygpt_service_pb2.ResumeResponse(event=event)

    async def Cancel(
        self, request: anygpt_service_pb2.CancelRequest, context: Context
    ) -> anygpt_service_pb2.CancelResponse:
        """See AnyGPTService."""
        call = call_of(context, self._parts.settings.limits.deadline_ms)
        call.request_id = request.request_id
        return anygpt_service_pb2.CancelResponse(cancelled=await self._cancel(call, "CLIENT_ASKED"))

    async def CreateConversation(self, request: Any, context: Context) -> Any:
        """See AnyGPTService."""
        conversation = await self._parts.conversations.create(self._tenant(context))
        return anygpt_service_pb2.CreateConversationResponse(conversation=conversation)

    async def GetConversation(self, request: Any, context: Context) -> Any:
        """See AnyGPTService."""
        return await self._parts.conversations.get(self._tenant(context), request.conversation_id)

    async def ListConversations(self, request: Any, context: Context) -> Any:
        """See AnyGPTService."""
        size = min(request.page_size, 1000)
        return await self._parts.conversations.list(self._tenant(context), size, request.page_token)

    async def DeleteConversation(self, request: Any, context: Context) -> Any:
        """See AnyGPTService."""
        tenant = self._tenant(context)
        record, media = await self._parts.conversations.delete(tenant, request.conversation_id)
        await self._parts.erasure.traces(tenant, record, media)
        return anygpt_service_pb2.DeleteConversationResponse()

    async def Inspect(self, request: Any, context: Context) -> anygpt_service_pb2.InspectResponse:
        """See AnyGPTService."""
        return await read_story(self._parts.bus, self._tenant(context), request.request_id)

    async def Describe(self, request: Any, context: Context) -> anygpt_service_pb2.DescribeResponse:
        """See AnyGPTService."""
        return self._parts.description.response

    @contextmanager
    def _begins(self) -> Iterator[None]:
        """A request has not been told of yet, and would be cut without a word if this replica stopped now."""
        self._beginning += 1
        try:
            yield
        finally:
            self._beginning -= 1

    async def close(self) -> None:
        """Forget clients that may come back: their requests live on at another replica or end by deadline."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    def _tenant(self, context: Context) -> str:
        return call_of(context, self._parts.settings.limits.deadline_ms).tenant

    async def _claim(self, request: anygpt_service_pb2.GenerateRequest, call: Call) -> str:
        """The id of a request: its own, or that of an earlier one with the same key.

        Who is refused for want of room costs nothing and leaves nothing behind; who was admitted before is followed,
        however full it is.
        """
        keys, name = self._parts.keys, request.idempotency_key
        try:
            self._look(request, call)
        except Exhausted:
            if earlier_id := await keys.recall(call.tenant, name, request):
                return earlier_id
            raise
        with ExitStack() as undo:
            undo.callback(self._parts.quota.release, call.request_id)
            claimed_id = await keys.claim(call.tenant, name, request, call.request_id)
            if claimed_id == call.request_id:
                undo.pop_all()
        return claimed_id

    def _look(self, request: anygpt_service_pb2.GenerateRequest, call: Call) -> None:
        if call.deadline_ms <= now_ms():
            raise DeadlineExpired("the deadline has passed before the request began")
        if self.is_draining:
            raise Unavailable("this replica stops", reason="DRAINING", retry_after_ms=RETRY_MS)
        call.priority = request.priority or types_pb2.PRIORITY_INTERACTIVE
        self._parts.quota.look(call)

    async def _accept(
        self, request: anygpt_service_pb2.GenerateRequest, call: Call, context: Context, is_own: bool
    ) -> _Client:
        """Admit a request and write it into the journal; one that is refused leaves nothing behind.

        A request that another caller claimed the key for keeps the key, and its place, whatever becomes of this call.

        Its client is attended to before: one that goes away while the journal is written has gone away all the same.
        """
        parts, name = self._parts, request.idempotency_key
        async with AsyncExitStack() as undo:
            if is_own:
                undo.push_async_callback(parts.keys.release, call.tenant, name)
                undo.callback(parts.quota.release, call.request_id)
            accepted = await self._admit(request, call)
            if conversation_id := request.conversation_id:
                await self._claim_turn(call, conversation_id)
                undo.push_async_callback(
                    parts.conversations.release, call.tenant, conversation_id, call.request_id
                )
            client = await self._attend(call, self._grace_ms(request), context)
            try:
                await Voice(parts.bus, topology.GATEWAY, call).say(0, accepted=accepted)
            except Exhausted:
                # Nothing was sent. After any other failure it may have been, and the request may be under way.
                client.has_ended = True
                raise
            except BaseException:
                undo.pop_all()
                raise
            undo.pop_all()
        return client

    async def _admit(self, request: anygpt_service_pb2.GenerateRequest, call: Call) -> bus_pb2.Accepted:
        parts = self._parts
        parts.admission.check(request)
        history = anygpt_service_pb2.GetConversationResponse()
        if request.conversation_id:
            history = await parts.conversations.get(call.tenant, request.conversation_id)
        durations_s = await parts.admission.take_media(request, call.tenant)
        tokens = parts.writer.check_fits(request, durations_s) + parts.writer.estimate(history.turns)
        accepted = bus_pb2.Accepted(tenant=call.tenant, request=request, limits=parts.description.limits)
        accepted.tokens = parts.writer.most_tokens(request, tokens)
        accepted.seed = request.seed if request.HasField("seed") else secrets.randbits(63)
        accepted.accepted_at.GetCurrentTime()
        accepted.deadline.CopyFrom(_timestamp(call.deadline_ms))
        parts.quota.reserve(call.request_id, accepted)
        return accepted

    async def _claim_turn(self, call: Call, conversation_id: str) -> None:
        left_s = (call.deadline_ms - now_ms()) / 1000
        await self._parts.conversations.claim(call.tenant, conversation_id, call.request_id, left_s)

    async def _attend(self, call: Call, grace_ms: int | None, context: Context) -> _Client:
        """Note that a client follows the request here; when it leaves before the end, its grace time begins."""
        client = self._clients[call.attempt] = _Client(call, grace_ms)
        REQUESTS_RUNNING.inc()
        await self._follow(call)
        context.add_done_callback(lambda _: self._left(client))
        return client

    async def _follow(self, call: Call) -> None:
        key = client_key(call.tenant, call.request_id)
        await self._parts.memory.set(key, call.attempt.encode(), self._parts.settings.retention_s)

    async def keep_following(self) -> None:
        """Note again and again who follows: a stream that came later and left, at any replica, was not the last."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            for client in [*self._clients.values()]:
                if not client.has_ended:
                    await self._follow(client.call)

    def _left(self, client: _Client) -> None:
        self._clients.pop(client.call.attempt, None)
        REQUESTS_RUNNING.dec()
        if not client.has_ended:
            client.left_ms = now_ms()
            task = asyncio.create_task(self._leave(client))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def _leave(self, client: _Client) -> None:
        """Give a client its grace time, then ask for the end, again and again while what it takes is away."""
        is_over = False
        while not is_over and client.call.left_s > 0:
            try:
                await self._give_up(client)
                is_over = True
            except AnyGPTError as error:
                is_over = not error.retry_after_ms
                await asyncio.sleep(error.retry_after_ms / 1000)

    async def _give_up(self, client: _Client) -> None:
        call = client.call
        if client.grace_ms is None:
            client.grace_ms = await self._asked_grace_ms(call)
        await asyncio.sleep((client.left_ms + client.grace_ms - now_ms()) / 1000)
        others = [each.call for each in self._clients.values() if each.call.request_id == call.request_id]
        if others:
            await self._follow(others[-1])
            return
        last = await self._parts.memory.get(client_key(call.tenant, call.request_id))
        if last == call.attempt.encode():
            await self._ask_to_cancel(call, "CLIENT_GONE")

    async def _resumed(
        self, call: Call, after_seq: int, grace_ms: int | None, context: Context
    ) -> AsyncGenerator[Event]:
        client = await self._attend(call, grace_ms, context)
        async with aclosing(self._parts.streams.replayed(call.request_id, call.tenant, after_seq)) as events:
            try:
                async for event in events:
                    client.see(event)
                    yield event
            except (NotFound, OutOfRange):
                client.has_ended = True
                raise

    async def _cancel(self, call: Call, reason: str) -> bool:
        """Ask in the journal for a request's end; False if that stood there already.

        Raises NotFound unless it is the caller's.
        """
        is_asked = False
        async with aclosing(self._parts.streams.history(call.request_id, call.tenant)) as history:
            async for reply, events in history:
                if any(event.WhichOneof("kind") in TERMINALS for event in events):
                    return False
                if reply.HasField("cancel") and reply.attempt == call.attempt:
                    return True
                if not is_asked:
                    is_asked = True
                    await self._ask_to_cancel(call, reason)
        return False

    async def _ask_to_cancel(self, call: Call, reason: str) -> None:
        """Write it into the journal: of a request that has ended already it changes nothing."""
        order = types_pb2.CancelOrder(request_id=call.request_id, reason=reason)
        await Voice(self._parts.bus, topology.GATEWAY, call).say(0, cancel=order)

    async def _asked_grace_ms(self, call: Call) -> int:
        """The grace time that the request itself came with."""
        async with aclosing(self._parts.streams.history(call.request_id, call.tenant)) as history:
            async for reply, _ in history:
                if reply.HasField("accepted"):
                    return self._grace_ms(reply.accepted.request)
        return self._parts.settings.limits.grace_ms

    def _grace_ms(self, request: anygpt_service_pb2.GenerateRequest) -> int:
        if not request.HasField("grace"):
            return self._parts.settings.limits.grace_ms
        return min(request.grace.ToMilliseconds(), self._parts.settings.limits.deadline_ms)


@dataclass(slots=True)
class _Client:
    """One stream of one client."""

    call: Call
    grace_ms: int | None
    """None: as the request said when it came."""
    left_ms: int = 0
    """When it went away."""
    has_ended: bool = False

    def see(self, event: Event) -> None:
        """Note an event that goes to the client."""
        self.has_ended = event.WhichOneof("kind") in TERMINALS


def _timestamp(unix_ms: int) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromMilliseconds(unix_ms)
    return stamp
