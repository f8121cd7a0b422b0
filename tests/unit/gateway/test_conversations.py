"""Conversations: who has the next turn, and what is left when one is deleted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.errors import Conflict, NotFound
from anygpt.keeping import keep_media
from anygpt.memory import SqliteMemory
from anygpt.stage import now_ms
from anygpt.store_folder import FolderStore
from anygpt.v1 import anygpt_service_pb2, bus_pb2, types_pb2
from services.gateway.conversations import Conversations
from services.gateway.ledger import Ledger

TENANT = "team"
PICTURE = types_pb2.MediaRef(object="uploads/aa", sha256="aa", media_type="image/png", size_bytes=1)


@dataclass
class Desk:
    """Conversations with all that they look at."""

    store: FolderStore
    memory: SqliteMemory
    ledger: Ledger
    conversations: Conversations

    def accept(self, request_id: str, conversation_id: str) -> None:
        """A request about the picture is under way."""
        accepted = bus_pb2.Accepted(tenant=TENANT)
        accepted.request.conversation_id = conversation_id
        accepted.request.parts.add(media=PICTURE, modality=topology.IMAGE)
        accepted.deadline.FromMilliseconds(now_ms() + 60_000)
        self.ledger.see(bus_pb2.Reply(request_id=request_id, accepted=accepted))

    def end(self, request_id: str) -> None:
        """Its end stands in the journal."""
        reply = bus_pb2.Reply(request_id=request_id)
        reply.terminal.finished.SetInParent()
        self.ledger.see(reply)

    async def with_picture(self) -> str:
        """A conversation that holds the picture."""
        conversation_id = (await self.conversations.create(TENANT)).conversation_id
        turn = anygpt_service_pb2.Turn(request_id=f"of{conversation_id}")
        turn.parts.add(media=PICTURE, modality=topology.IMAGE)
        await self.conversations.append(TENANT, conversation_id, turn)
        return conversation_id


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await FolderStore(tmp_path / "objects").open()
    memory = await SqliteMemory(tmp_path / "memory.sqlite").open()
    ledger = Ledger(tuple(topology.MODALITY_NAMES))
    yield Desk(store, memory, ledger, Conversations(store, memory, ledger))
    await memory.close()
    await store.close()


async def test_a_turn_is_one_requests_and_can_be_claimed_by_it_again(desk: Desk) -> None:
    for _ in range(2):
        await desk.conversations.claim(TENANT, "c1", "first", 60)
    with pytest.raises(Conflict):
        await desk.conversations.claim(TENANT, "c1", "second", 60)


async def test_a_claim_that_the_memory_could_not_be_told_to_forget_ends_with_its_request(desk: Desk) -> None:
    await desk.conversations.claim(TENANT, "c1", "first", 60)
    desk.accept("first", "c1")
    with pytest.raises(Conflict):
        await desk.conversations.claim(TENANT, "c1", "second", 60)
    desk.end("first")
    await desk.conversations.claim(TENANT, "c1", "second", 60)
    with pytest.raises(Conflict):
        await desk.conversations.claim(TENANT, "c1", "third", 60)


async def test_media_that_a_request_under_way_is_about_outlives_the_conversation_that_held_it(
    desk: Desk,
) -> None:
    held, other = await desk.with_picture(), (await desk.conversations.create(TENANT)).conversation_id
    await keep_media(desk.store, TENANT, PICTURE, b"x")
    desk.accept("elsewhere", other)
    _, erased = await desk.conversations.delete(TENANT, held)
    assert erased == []
    desk.end("elsewhere")
    _, erased = await desk.conversations.delete(TENANT, await desk.with_picture())
    assert erased == [PICTURE]


async def test_a_conversation_whose_deletion_was_refused_or_broken_off_goes_on(desk: Desk) -> None:
    conversation_id = await desk.with_picture()
    await desk.conversations.claim(TENANT, conversation_id, "first", 60)
    with pytest.raises(Conflict):
        await desk.conversations.delete(TENANT, conversation_id)
    assert (await desk.conversations.get(TENANT, conversation_id)).turns
    await desk.conversations.release(TENANT, conversation_id, "first")
    await desk.conversations.delete(TENANT, conversation_id)
    with pytest.raises(NotFound):
        await desk.conversations.delete(TENANT, conversation_id)
