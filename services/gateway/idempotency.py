"""Idempotency keys: their truth is one object each in the store, which says whose key it is and for which body."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from google.protobuf.message import Message

from anygpt.errors import Conflict, NotFound
from anygpt.recent import Recent
from anygpt.store import Store

LIMIT = 1024


def _key(tenant: str, kind: str, name: str) -> str:
    return f"{tenant}/idempotency/{kind}/{hashlib.sha256(name.encode()).hexdigest()}"


class IdempotencyKeys:
    """Keys of one kind of thing, for all tenants."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._claimed_here: Recent[str, None] = Recent()

    async def claim(self, tenant: str, name: str, body: Message, own_id: str) -> str:
        """The id that has this key: `own_id` if nobody had it, or if there is no key at all.

        Raises Conflict when it was used for another body.
        """
        if not name:
            return own_id
        key = _key(tenant, self._kind, name)
        if await self._store.put(key, f"{own_id} {_digest(body)}".encode(), "text/plain", if_absent=True):
            self._claimed_here[key] = None
            return own_id
        return await self._find(key, body)

    async def recall(self, tenant: str, name: str, body: Message) -> str:
        """The id that has this key, empty if it was not claimed here of late. Raises Conflict as `claim` does.

        Of a new key nothing and nobody is asked.
        """
        key = _key(tenant, self._kind, name)
        if key not in self._claimed_here:
            return ""
        with suppress(NotFound):
            return await self._find(key, body)
        return ""

    async def release(self, tenant: str, name: str) -> None:
        """Give a key back whose call came to nothing."""
        if name:
            key = _key(tenant, self._kind, name)
            self._claimed_here.pop(key, None)
            await self._store.delete(key)

    async def _find(self, key: str, body: Message) -> str:
        earlier_id, earlier = (await self._store.get(key, LIMIT)).decode().split()
        if earlier != _digest(body):
            raise Conflict("the key was used for another body", reason="KEY_REUSED", field="idempotency_key")
        return earlier_id


def _digest(body: Message) -> str:
    return hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()
