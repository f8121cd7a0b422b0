"""Where finished media goes: to the store first, however long that is away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anygpt import topology
from anygpt.attempts import Past
from anygpt.errors import RequestCancelled, Unavailable
from anygpt.routes import Route, new_route
from anygpt.stage import Call, now_ms
from anygpt.store_folder import FolderStore
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2

MEGABYTE = 1 << 20


class AbsentStore(FolderStore):
    """A store that is away for its first writes."""

    left = 3

    async def put(self, key: str, source: bytes | Path, media_type: str, *, if_absent: bool = False) -> bool:
        """See Store."""
        if self.left:
            self.left -= 1
            raise Unavailable("away", retry_after_ms=1000)
        return await super().put(key, source, media_type, if_absent=if_absent)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[AbsentStore]:
    made = AbsentStore(tmp_path)
    await made.open()
    yield made
    await made.close()


def decoded(call: Call, store: AbsentStore) -> tuple[Route, stages_pb2.DecodeResponse]:
    request = stages_pb2.DecodeRequest(modality=topology.IMAGE)
    ready = anygpt_service_pb2.MediaReady(media=types_pb2.MediaRef(media_type="image/png"))
    media = stages_pb2.DecodedMedia(data=b"drawn once", ready=ready)
    return new_route(request, call, 0, Past(), store), stages_pb2.DecodeResponse(media=media)


async def test_media_is_written_when_the_store_is_back(store: AbsentStore) -> None:
    route, response = decoded(Call("request", "tenant", now_ms() + 60_000), store)
    (outgoing,) = await route.outgoing(response)
    reference = outgoing.message.decoded.media.ready.media  # type: ignore[attr-defined]
    assert await store.get(f"tenant/{reference.object}", MEGABYTE) == b"drawn once"
    assert store.left == 0


async def test_a_cancel_ends_the_wait_for_the_store(store: AbsentStore) -> None:
    store.left = 1_000_000
    call = Call("request", "tenant", now_ms() + 60_000)
    route, response = decoded(call, store)
    call.cancel()
    with pytest.raises(RequestCancelled):
        await route.outgoing(response)
