"""Media as it lies in the store: the object, beside it the facts about it, and who holds it.

A holder is a conversation or a job. What nobody holds any more is erased, at once with its last holder or, if it never
had one, by the sweeper when it is old.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable
from pathlib import Path

from anygpt.identity import object_key, ref_key
from anygpt.store import Store
from anygpt.v1 import types_pb2


def holds_folder(tenant: str) -> str:
    """Where the marks of all holders lie: `<object id>/<holder>` below it."""
    return f"{tenant}/holds/"


async def keep_media(store: Store, tenant: str, reference: types_pb2.MediaRef, source: bytes | Path) -> None:
    """Write media under its reference's object id, and the reference beside it, so that it can be found again."""
    facts = reference.SerializeToString()
    await asyncio.gather(
        store.put(object_key(tenant, reference.object), source, reference.media_type),
        store.put(ref_key(tenant, reference.object), facts, "application/protobuf"),
    )


async def hold_media(store: Store, tenant: str, parts: Iterable[types_pb2.MediaRef], holder: str) -> None:
    """Mark media as held. It comes before whatever names the media, so that a crash leaves a mark too many."""
    marks = {f"{holds_folder(tenant)}{reference.object}/{holder}" for reference in parts}
    await asyncio.gather(*(store.put(mark, b"", "text/plain") for mark in marks))


async def let_media_go(
    store: Store, tenant: str, parts: Iterable[types_pb2.MediaRef], holder: str, in_use: Container[str] = ()
) -> list[types_pb2.MediaRef]:
    """Take a holder's marks away, and erase what nobody else holds, and is not in use; returns what was erased."""
    erased = []
    for reference in {each.object: each for each in parts}.values():
        folder = f"{holds_folder(tenant)}{reference.object}/"
        await store.delete(f"{folder}{holder}")
        if reference.object not in in_use and not await store.list(folder):
            await erase_media(store, tenant, reference.object)
            erased.append(reference)
    return erased


async def erase_media(store: Store, tenant: str, object_id: str) -> None:
    """Remove media and the facts about it."""
    await asyncio.gather(
        store.delete(object_key(tenant, object_id)), store.delete(ref_key(tenant, object_id))
    )
