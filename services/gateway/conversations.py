"""Conversations: their truth is one object each in the store; one turn at a time."""

from __future__ import annotations

import asyncio

from anygpt.errors import Conflict, InvalidInput, NotFound
from anygpt.identity import new_id
from anygpt.memory import Memory
from anygpt.stage import now_ms
from anygpt.store import Store
from anygpt.v1 import anygpt_service_pb2

Record = anygpt_service_pb2.GetConversationResponse
RECORD_LIMIT = 64 * 1024 * 1024


def _key(tenant: str, conversation_id: str) -> str:
    if not (conversation_id.isalnum() and conversation_id.isascii() and len(conversation_id) <= 64):
        raise InvalidInput("this is no conversation id", field="conversation_id")
    return f"{tenant}/conversations/{conversation_id}"


class Conversations:
    """Creates, reads, extends and forgets the conversations of all tenants."""

    def __init__(self, store: Store, memory: Memory) -> None:
        self._store = store
        self._memory = memory

    async def create(self, tenant: str) -> anygpt_service_pb2.Conversation:
        """Open an empty conversation. Ids begin with the time, so that listings can go by age."""
        conversation = anygpt_service_pb2.Conversation(conversation_id=f"{now_ms():012x}{new_id()}")
        conversation.created_at.GetCurrentTime()
        conversation.updated_at.CopyFrom(conversation.created_at)
        await self._write(tenant, Record(conversation=conversation))
        return conversation

    async def get(self, tenant: str, conversation_id: str) -> Record:
        """A conversation with its turns. Raises NotFound."""
        record = Record()
        try:
            record.ParseFromString(await self._store.get(_key(tenant, conversation_id), RECORD_LIMIT))
        except NotFound:
            raise NotFound("there is no such conversation", field="conversation_id") from None
        return record

    async def list(
        self, tenant: str, page_size: int, page_token: str
    ) -> anygpt_service_pb2.ListConversationsResponse:
        """One page, newest first; the token is the last id of the page before."""
        found = await self._store.list(f"{tenant}/conversations/")
        ids = sorted((each.key.rsplit("/", 1)[1] for each in found), reverse=True)
        left = [each for each in ids if not page_token or each < page_token]
        page = left[: page_size or 100]
        records = await asyncio.gather(*(self.get(tenant, each) for each in page))
        return anygpt_service_pb2.ListConversationsResponse(
            conversations=[record.conversation for record in records],
            next_page_token=page[-1] if len(left) > len(page) else "",
        )

    async def delete(self, tenant: str, conversation_id: str) -> None:
        """Forget a conversation. Raises NotFound."""
        await self.get(tenant, conversation_id)
        await self._store.delete(_key(tenant, conversation_id))

    async def append(self, tenant: str, conversation_id: str, turn: anygpt_service_pb2.Turn) -> None:
        """Add a turn, once: a turn whose request is there already is not added again."""
        record = await self.get(tenant, conversation_id)
        if any(each.request_id == turn.request_id for each in record.turns):
            return
        record.turns.append(turn)
        record.conversation.turn_count = len(record.turns)
        record.conversation.updated_at.GetCurrentTime()
        await self._write(tenant, record)

    async def claim(self, tenant: str, conversation_id: str, request_id: str, ttl_s: float) -> None:
        """Take the conversation's next turn. Raises Conflict while another request has it."""
        key = f"turn/{_key(tenant, conversation_id)}"
        if not await self._memory.set(key, request_id.encode(), ttl_s, if_absent=True):
            raise Conflict(
                "another request is under way in this conversation",
                reason="TURN_UNDER_WAY",
                field="conversation_id",
            )

    async def release(self, tenant: str, conversation_id: str, request_id: str) -> None:
        """Give the turn back, if this request has it."""
        await self._memory.delete(f"turn/{_key(tenant, conversation_id)}", request_id.encode())

    async def _write(self, tenant: str, record: Record) -> None:
        key = _key(tenant, record.conversation.conversation_id)
        await self._store.put(key, record.SerializeToString(), "application/protobuf")
