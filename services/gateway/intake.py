"""Intake: the media of a request, wherever it comes from, into the store, so that history can keep references."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from anygpt import topology
from anygpt.errors import InvalidInput, NotFound, Unserved
from anygpt.guard import Content, Guard, check_incoming
from anygpt.identity import ref_key, upload_object
from anygpt.keeping import keep_media
from anygpt.pack import Pack
from anygpt.store import Store
from anygpt.v1 import anygpt_service_pb2, types_pb2
from services.gateway.media_facts import FactsReader
from services.gateway.media_url import UrlFetcher
from services.gateway.read_as import may_be

REF_LIMIT = 64 * 1024
Request = anygpt_service_pb2.GenerateRequest


class Intake:
    """Takes media in: inline, by URL, or by reference to what is here already."""

    def __init__(
        self, pack: Pack, store: Store, facts: FactsReader, fetcher: UrlFetcher, guard: Guard
    ) -> None:
        self._pack = pack
        self._store = store
        self._facts = facts
        self._fetcher = fetcher
        self._guard = guard

    async def take(self, request: Request, tenant: str) -> list[float]:
        """Replace inline media and URLs by references, complete the others; return the seconds of each part."""
        durations_s = []
        await self._check_text(request.system, tenant, "system")
        for i, part in enumerate(request.parts):
            field = f"parts[{i}]"
            if part.HasField("text"):
                await self._check_text(part.text, tenant, f"{field}.text")
            elif part.HasField("inline"):
                await self._take_inline(part, tenant, field)
            elif part.HasField("url"):
                await self._take_url(part, tenant, field)
            elif part.HasField("media"):
                await self._complete(part, tenant, field)
            durations_s.append(part.media.duration_ms / 1000)
        return durations_s

    def check_url(self, url: str, field: str) -> None:
        """Raise Unserved or InvalidInput for a URL that is not fetched here, before any work."""
        self._fetcher.check(url, field)

    async def find(self, tenant: str, object_id: str, field: str) -> types_pb2.MediaRef:
        """The facts about an object. Raises NotFound."""
        reference = types_pb2.MediaRef()
        try:
            reference.ParseFromString(await self._store.get(ref_key(tenant, object_id, field), REF_LIMIT))
        except NotFound:
            raise NotFound("there is no such object", reason="OBJECT_NOT_FOUND", field=field) from None
        return reference

    async def keep(self, tenant: str, reference: types_pb2.MediaRef, data: bytes | Path) -> None:
        """Write media and, beside it, the facts about it."""
        await keep_media(self._store, tenant, reference, data)

    async def _take_inline(self, part: types_pb2.Part, tenant: str, field: str) -> None:
        data = part.inline.data
        reference = await self._facts.read(data, part.modality, part.inline.media_type, f"{field}.inline")
        check_served(reference.modality, f"{field}.modality", self._pack.inputs)
        reference.sha256 = hashlib.sha256(data).hexdigest()
        await self.check_media(tenant, reference, data, f"{field}.inline")
        await self._put(part, tenant, reference, data)

    async def _take_url(self, part: types_pb2.Part, tenant: str, field: str) -> None:
        with tempfile.NamedTemporaryFile(prefix="anygpt-url-") as file:
            fetched = await self._fetcher.fetch(part.url, file, f"{field}.url")
            path = Path(file.name)
            reference = await self._facts.read(path, part.modality, fetched.media_type, f"{field}.url")
            check_served(reference.modality, f"{field}.modality", self._pack.inputs)
            reference.sha256 = fetched.sha256
            await self.check_media(tenant, reference, path, f"{field}.url")
            await self._put(part, tenant, reference, path)

    async def check_media(
        self, tenant: str, reference: types_pb2.MediaRef, data: bytes | Path, field: str
    ) -> None:
        """Raise ContentRefused for media that the guard does not let in."""
        content = Content(reference.modality, media=data, media_type=reference.media_type)
        await check_incoming(self._guard, content, tenant, field)

    async def _check_text(self, text: str, tenant: str, field: str) -> None:
        if text:
            await check_incoming(self._guard, Content(topology.TEXT, text), tenant, field)

    async def _put(
        self, part: types_pb2.Part, tenant: str, reference: types_pb2.MediaRef, data: bytes | Path
    ) -> None:
        """Keep what came with the request, and put its reference in its place."""
        reference.object = upload_object(reference.sha256)
        await self.keep(tenant, reference, data)
        part.modality = reference.modality
        part.media.CopyFrom(reference)

    async def _complete(self, part: types_pb2.Part, tenant: str, field: str) -> None:
        reference = await self.find(tenant, part.media.object, f"{field}.media")
        wanted = part.modality or reference.modality
        if wanted not in may_be(reference):
            raise InvalidInput(
                f"the object is {topology.MODALITY_NAMES[reference.modality]}",
                reason="MODALITY_MISMATCH",
                field=f"{field}.modality",
            )
        check_served(wanted, f"{field}.modality", self._pack.inputs)
        reference.modality = wanted
        part.modality = wanted
        part.media.CopyFrom(reference)


def check_served(modality: int, field: str, served: object) -> None:
    """Raise Unserved, or InvalidInput for what is no modality."""
    name = topology.MODALITY_NAMES.get(modality)  # type: ignore[call-overload]
    if name is None:
        raise InvalidInput("there is no such modality", reason="MODALITY_UNKNOWN", field=field)
    if modality not in served:  # type: ignore[operator]
        raise Unserved(f"the pack does not serve {name} here", reason="MODALITY_UNSERVED", field=field)
