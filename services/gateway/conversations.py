"""Conversations: their truth is in the store, one object for the beginning and one for each turn; one turn at a time.

A turn is written once and never read back to be changed, so no two requests can lose each other's.
"""

from __future__ import annotations

import asyncio

from anygpt.errors import Conflict, InvalidInput, NotFound
from anygpt.keeping import hold_media, let_media_go
from anygpt.memory import Memory
from anygpt.paging import new_dated_id, page_of
from anygpt.store import Store, StoredObject
from anygpt.v1 import anygpt_service_pb2, types_pb2
from services.gateway.ledger import Ledger
from services.gateway.memory_keys import turn_key

Record = anygpt_service_pb2.GetConversationResponse
Look = tuple[anygpt_service_pb2.Conversation, list[StoredObject]]
TURN_LIMIT = 64 * 1024 * 1024
DELETING = b"deleting"
DELETING_S = 60.0
CATCH_UP_S = 1.0
TICK_S = 0.02


def conversations_folder(tenant: str) -> str:
    """Where a tenant's conversations lie, a folder each."""
    return f"{tenant}/conversations/"


def _folder(tenant: str, conversation_id: str) -> str:
    if not (conversation_id.isalnum() and conversation_id.isascii() and len(conversation_id) <= 64):
        raise InvalidInput("this is no conversation id", field="conversation_id")
    return f"{conversations_folder(tenant)}{conversation_id}"


class Conversations:
    """Creates, reads, extends and forgets the conversations of all tenants."""

    def __init__(self, store: Store, memory: Memory, ledger: Ledger) -> None:
        self._store = store
        self._memory = memory
        self._ledger = ledger

    async def create(self, tenant: str) -> anygpt_service_pb2.Conversation:
        """Open an empty conversation."""
        conversation_id = new_dated_id()
        await self._store.put(f"{_folder(tenant, conversation_id)}/head", b"", "text/plain")
        conversation, _ = await self._look(tenant, conversation_id)
        return conversation

    async def get(self, tenant: str, conversation_id: str) -> Record:
        """A conversation with its turns, in the order of their requests. Raises NotFound."""
        conversation, stored = await self._look(tenant, conversation_id)
        found = await asyncio.gather(*(self._store.get(turn.key, TURN_LIMIT) for turn in stored))
        turns = [anygpt_service_pb2.Turn.FromString(turn) for turn in found]
        return Record(conversation=conversation, turns=turns)

    async def append(self, tenant: str, conversation_id: str, turn: anygpt_service_pb2.Turn) -> None:
        """Add a turn, once: a turn whose request is there already is not added again. Raises NotFound."""
        await self._look(tenant, conversation_id)
        await hold_media(self._store, tenant, media_of(turn), conversation_id)
        key = f"{_folder(tenant, conversation_id)}/turns/{turn.request_id}"
        await self._store.put(key, turn.SerializeToString(), "application/protobuf", if_absent=True)

    async def delete(self, tenant: str, conversation_id: str) -> tuple[Record, list[types_pb2.MediaRef]]:
        """Forget a conversation and the media that no other holds; returns what it was, and the erased media.

        Raises NotFound, and Conflict while a request is under way in it.
        """
        await self._look(tenant, conversation_id)
        await self._claim(tenant, conversation_id, DELETING, DELETING_S)
        try:
            return await self._delete(tenant, conversation_id)
        finally:
            await self._memory.delete(turn_key(tenant, conversation_id), DELETING)

    async def _delete(self, tenant: str, conversation_id: str) -> tuple[Record, list[types_pb2.MediaRef]]:
        record = await self.get(tenant, conversation_id)
        folder = _folder(tenant, conversation_id)
        await self._store.delete(f"{folder}/head")
        for turn in record.turns:
            await self._store.delete(f"{folder}/turns/{turn.request_id}")
        media = [reference for turn in record.turns for reference in media_of(turn)]
        in_use = self._ledger.media_of(tenant)
        return record, await let_media_go(self._store, tenant, media, conversation_id, in_use)

    async def claim(self, tenant: str, conversation_id: str, request_id: str, ttl_s: float) -> None:
        """Take the conversation's next turn. Raises Conflict while another request has it.

        The memory decides between two that come at once; should it have been lost, the journal still knows who came
        before. A terminal event that another replica wrote may take a moment to be read here.
        """
        await self._claim(tenant, conversation_id, request_id.encode(), ttl_s)

    async def release(self, tenant: str, conversation_id: str, request_id: str) -> None:
        """Give the turn back, if this request has it."""
        await self._memory.delete(turn_key(tenant, conversation_id), request_id.encode())

    async def _claim(self, tenant: str, conversation_id: str, holder: bytes, ttl_s: float) -> None:
        key = turn_key(tenant, conversation_id)
        if not await self._memory.set(key, holder, ttl_s, if_absent=True):
            await self._take_over(key, holder, ttl_s)
        for _ in range(round(CATCH_UP_S / TICK_S)):
            if not self._ledger.has_turn(tenant, conversation_id):
                return
            await asyncio.sleep(TICK_S)
        await self._memory.delete(key, holder)
        raise _under_way()

    async def _take_over(self, key: str, holder: bytes, ttl_s: float) -> None:
        """Take a claim that is this holder's own, or that of a request whose end the memory was not told of."""
        other = await self._memory.get(key)
        if other == holder:
            return
        if other is None or self._ledger.has_ended(other.decode()):
            await self._memory.delete(key, other)
            if await self._memory.set(key, holder, ttl_s, if_absent=True):
                return
        raise _under_way()

    async def _look(self, tenant: str, conversation_id: str) -> Look:
        """What a listing tells of a conversation, without reading any of it."""
        folder = _folder(tenant, conversation_id)
        stored = {each.key: each for each in await self._store.list(f"{folder}/")}
        head = stored.pop(f"{folder}/head", None)
        if head is None:
            raise NotFound("there is no such conversation", field="conversation_id")
        turns = list(stored.values())
        conversation = anygpt_service_pb2.Conversation(conversation_id=conversation_id, turn_count=len(turns))
        conversation.created_at.FromMilliseconds(head.modified_ms)
        conversation.updated_at.FromMilliseconds(max(each.modified_ms for each in (head, *turns)))
        return conversation, turns

    async def list(
        self, tenant: str, page_size: int, page_token: str
    ) -> anygpt_service_pb2.ListConversationsResponse:
        """One page, newest first."""
        ids = await self._store.folders(conversations_folder(tenant))
        page, token = page_of(ids, page_size, page_token)
        looks = await asyncio.gather(*(self._look(tenant, each) for each in page))
        conversations = [conversation for conversation, _ in looks]
        return anygpt_service_pb2.ListConversationsResponse(
            conversations=conversations, next_page_token=token
        )


def media_of(turn: anygpt_service_pb2.Turn) -> list[types_pb2.MediaRef]:
    """The media of a turn, in and out."""
    return [part.media for part in (*turn.parts, *turn.answer) if part.HasField("media")]


def _under_way() -> Conflict:
    return Conflict(
        "another request is under way in this conversation", reason="TURN_UNDER_WAY", field="conversation_id"
    )
