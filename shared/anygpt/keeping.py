"""Media as it lies in the store: the object, and beside it the facts about it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from anygpt.identity import object_key, ref_key
from anygpt.store import Store
from anygpt.v1 import types_pb2


async def keep_media(store: Store, tenant: str, reference: types_pb2.MediaRef, source: bytes | Path) -> None:
    """Write media under its reference's object id, and the reference beside it, so that it can be found again."""
    facts = reference.SerializeToString()
    await asyncio.gather(
        store.put(object_key(tenant, reference.object), source, reference.media_type),
        store.put(ref_key(tenant, reference.object), facts, "application/protobuf"),
    )
