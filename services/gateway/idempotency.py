"""Idempotency keys: their truth is one object each in the store, which says whose key it is and for which body."""

from __future__ import annotations

import hashlib

from google.protobuf.message import Message

from anygpt.errors import Conflict
from anygpt.store import Store

LIMIT = 1024


def _key(tenant: str, kind: str, name: str) -> str:
    return f"{tenant}/idempotency/{kind}/{hashlib.sha256(name.encode()).hexdigest()}"


class IdempotencyKeys:
    """Keys of one kind of thing, for all tenants."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self._kind = kind

    async def claim(self, tenant: str, name: str, body: Message, own_id: str) -> str:
        """The id that has this key: `own_id` if nobody had it, or if there is no key at all.

        Raises Conflict when it was used for another body.
        """
        if not name:
            return own_id
        digest = hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest()
        key = _key(tenant, self._kind, name)
        if await self._store.put(key, f"{own_id} {digest}".encode(), "text/plain", if_absent=True):
            return own_id
        earlier_id, earlier = (await self._store.get(key, LIMIT)).decode().split()
        if earlier != digest:
            raise Conflict("the key was used for another body", reason="KEY_REUSED", field="idempotency_key")
        return earlier_id

    async def release(self, tenant: str, name: str) -> None:
        """Give a key back whose call came to nothing."""
        if name:
            await self._store.delete(_key(tenant, self._kind, name))
