"""Media by URL become objects of the tenant: history keeps the reference, and nothing keeps the URL."""

from __future__ import annotations

from pathlib import Path

import pytest

from anygpt.errors import Unserved
from anygpt.guard import AllowAll
from anygpt.identity import object_key
from anygpt.pack import open_pack
from anygpt.sandbox import Sandbox
from anygpt.settings import LimitSettings, SandboxSettings
from anygpt.store_folder import FolderStore
from anygpt.topology import IMAGE
from anygpt.v1 import anygpt_service_pb2, types_pb2
from services.gateway.intake import Intake
from services.gateway.media_facts import FactsReader
from services.gateway.media_url import UrlFetcher
from services.gateway.settings import UrlSettings
from tests.flow.media import picture
from tests.flow.pack import build_pack
from tests.unit.safety.network import PUBLIC, SmallNetwork, answer, served

URL = "https://media.example.com/a.png?token=secret"


async def taken(
    folder: Path, port: int, *origins: str
) -> tuple[anygpt_service_pb2.GenerateRequest, FolderStore]:
    """A request with a URL, after its media was taken in."""
    sandbox, limits = Sandbox(SandboxSettings(children=1)), LimitSettings()
    store = await FolderStore(folder / "store").open()
    network = SmallNetwork({"media.example.com": [[PUBLIC]]}, port)
    fetcher = UrlFetcher(UrlSettings(origins=origins), limits.media_bytes, network)
    pack = open_pack(str(build_pack(folder / "pack")))
    request = anygpt_service_pb2.GenerateRequest(parts=[types_pb2.Part(url=URL)])
    try:
        intake = Intake(pack, store, FactsReader(sandbox, limits), fetcher, AllowAll())
        await intake.take(request, "acme")
    finally:
        sandbox.close()
    return request, store


async def test_media_by_url_become_an_object_and_the_url_is_forgotten(tmp_path: Path) -> None:
    async with served({"/a.png?token=secret": answer(picture(), "Content-Type: image/png")}) as port:
        request, store = await taken(tmp_path, port, "https://media.example.com")
    part = request.parts[0]
    assert (part.modality, part.media.width, part.media.media_type) == (IMAGE, 64, "image/png")
    assert await store.get(object_key("acme", part.media.object), 1 << 20) == picture()
    assert b"secret" not in request.SerializeToString()


async def test_by_default_no_url_is_taken_in(tmp_path: Path) -> None:
    with pytest.raises(Unserved) as raised:
        await taken(tmp_path, 0)
    assert (raised.value.reason, raised.value.field) == ("URL_UNSERVED", "parts[0].url")
