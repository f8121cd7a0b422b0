"""Erasure: everything that is kept of a conversation or a tenant, wherever it is.

What is in the topics cannot be taken out one by one: it ages out with their retention. Dead letters can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from anygpt import topology
from anygpt.bus import CONVERSATION_HEADER, TENANT_HEADER, Bus
from anygpt.dead import purge, read_letters
from anygpt.identity import new_id
from anygpt.jobs import JobBook
from anygpt.memory import Memory
from anygpt.stage import Call, now_ms
from anygpt.store import Store
from anygpt.v1 import bus_pb2, job_service_pb2, types_pb2
from anygpt.voice import Voice
from services.gateway.conversations import Record
from services.gateway.ledger import Ledger
from services.gateway.memory_keys import client_key, encodings_folder, tenant_folders

ERASED = "_erased/"
"""Where a mark for each erased tenant lies, until nothing can be written for it any more."""
STOP_S = 10.0
"""How long cancelled work gets to end before its objects are removed; what comes later the sweeper removes."""
TICK_S = 0.1
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Erased:
    """What was removed of a tenant."""

    objects: int
    requests: int
    dead_letters: int


class Erasure:
    """Removes from the store, the memory and the dead-letter topics."""

    def __init__(self, bus: Bus, store: Store, memory: Memory, ledger: Ledger) -> None:
        self._bus = bus
        self._store = store
        self._memory = memory
        self._ledger = ledger
        self._book = JobBook(store)

    async def traces(self, tenant: str, record: Record, media: list[types_pb2.MediaRef]) -> None:
        """Remove what is left of a deleted conversation: encodings of its erased media, its dead letters."""
        for reference in media:
            await self._memory.delete_all(encodings_folder(tenant, reference.sha256))
        for turn in record.turns:
            await self._memory.delete(client_key(tenant, turn.request_id))
        place = (tenant, record.conversation.conversation_id)
        await self._purge(lambda letter: place == _place(letter))

    async def tenant(self, tenant: str) -> Erased:
        """Stop a tenant's work and remove all that is kept of it. Raises Unavailable; then it may be repeated."""
        await self._store.put(f"{ERASED}{tenant}", b"", "text/plain")
        requests = await self._stop(tenant)
        stored = await self._store.list(f"{tenant}/")
        await delete_all(self._store, [each.key for each in stored])
        for job_id in await self._jobs(tenant):
            await self._book.close(tenant, job_id)
        for folder in tenant_folders(tenant):
            await self._memory.delete_all(folder)
        letters = await self._purge(lambda letter: letter.headers.get(TENANT_HEADER) == tenant)
        return Erased(len(stored), requests, letters)

    async def _stop(self, tenant: str) -> int:
        requests = self._ledger.requests_of(tenant)
        for request_id in requests:
            call = Call(request_id, tenant, now_ms() + round(STOP_S * 1000), attempt=new_id())
            order = types_pb2.CancelOrder(request_id=request_id, reason="the tenant is erased")
            await Voice(self._bus, topology.GATEWAY, call).say(0, cancel=order)
        for job_id in await self._jobs(tenant):
            await self._book.ask_to_cancel(tenant, job_id)
            job = await self._book.get(tenant, job_id)
            if job.state == job_service_pb2.JOB_STATE_QUEUED:
                await self._book.close(tenant, job_id)
        for _ in range(round(STOP_S / TICK_S)):
            if not self._ledger.requests_of(tenant) and not await self._jobs(tenant):
                break
            await asyncio.sleep(TICK_S)
        return len(requests)

    async def _jobs(self, tenant: str) -> list[str]:
        return [job_id for owner, job_id in await self._book.open_jobs() if owner == tenant]

    async def _purge(self, is_meant: Callable[[bus_pb2.DeadLetter], bool]) -> int:
        count = 0
        for entry in topology.STAGES.values():
            letters = await read_letters(self._bus, entry)
            for letter_id in [name for name, letter in letters.items() if is_meant(letter)]:
                await purge(self._bus, entry, letter_id)
                count += 1
        return count


def _place(letter: bus_pb2.DeadLetter) -> tuple[str, str]:
    """Whose a letter is, and of which conversation."""
    return letter.headers.get(TENANT_HEADER, ""), letter.headers.get(CONVERSATION_HEADER, "")


async def delete_all(store: Store, keys: list[str]) -> None:
    """Remove many objects, a few at a time."""
    for i in range(0, len(keys), AT_ONCE):
        await asyncio.gather(*(store.delete(key) for key in keys[i : i + AT_ONCE]))
