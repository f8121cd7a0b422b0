"""The sweeper: removes from the store what nobody holds and what has outlived its time, and what erasure missed."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from anygpt.errors import InvalidInput, NotFound, Unavailable
from anygpt.identity import check_tenant
from anygpt.jobs import ENDED, JobBook
from anygpt.memory import Memory
from anygpt.stage import now_ms
from anygpt.store import Store, StoredObject
from services.gateway.erasure import ERASED, delete_all
from services.gateway.memory_keys import tenant_folders
from services.gateway.settings import Settings

log = logging.getLogger(__name__)
ORPHAN_MS = 3600 * 1000
"""What should have a fellow and has none is left alone so long: its fellow may be on the way."""
MEDIA = ("uploads", "media")


class Sweeper:
    """Goes through the store, tenant by tenant. Every rule looks at listings; only ended jobs are opened."""

    def __init__(self, store: Store, memory: Memory, settings: Settings) -> None:
        self._store = store
        self._memory = memory
        self._settings = settings
        self._book = JobBook(store)

    async def run(self) -> None:
        """Sweep again and again, at one gateway of all."""
        while True:
            await asyncio.sleep(self._settings.sweep_s)
            if await self._memory.set("sweep", b"", self._settings.sweep_s / 2, if_absent=True):
                try:
                    log.info("swept away %d objects", await self.sweep())
                except Unavailable as error:
                    log.warning("the sweep was broken off: %s", error.message)

    async def sweep(self) -> int:
        """Go through everything once; how many objects were removed."""
        count = 0
        for tenant in await self._store.folders(""):
            try:
                check_tenant(tenant)
            except InvalidInput:
                continue
            goes = await self._outlived(tenant)
            await delete_all(self._store, sorted(goes))
            count += len(goes)
        await self._close_lost_jobs()
        return count + await self._sweep_erased()

    async def _outlived(self, tenant: str) -> set[str]:
        shelf = _Shelf(tenant, now_ms())
        for stored in await self._store.list(f"{tenant}/"):
            shelf.add(stored)
        goes = set[str]()
        for job_id, objects in shelf.folders["jobs"].items():
            if shelf.is_old(objects, self._settings.jobs_s * 1000) and await self._has_ended(tenant, job_id):
                goes |= {each.key for each in objects}
                shelf.holders.discard(job_id)
        for objects in shelf.folders["conversations"].values():
            if not shelf.has_head(objects) and shelf.is_old(objects, ORPHAN_MS):
                goes |= {each.key for each in objects}
        goes |= shelf.loose_marks()
        goes |= shelf.loose_media(self._settings.media_s * 1000)
        url_ms = self._settings.url_s * 1000 + ORPHAN_MS
        for kind, life_ms in (
            ("pending", url_ms), ("pending-headers", url_ms), ("idempotency", self._settings.retention_s * 1000),
        ):  # fmt: skip
            goes |= {each.key for each in shelf.plain[kind] if shelf.is_old([each], life_ms)}
        return goes

    async def _has_ended(self, tenant: str, job_id: str) -> bool:
        try:
            return (await self._book.get(tenant, job_id)).state in ENDED
        except NotFound:
            return True

    async def _close_lost_jobs(self) -> None:
        for tenant, job_id in await self._book.open_jobs():
            try:
                await self._book.get(tenant, job_id)
            except NotFound:
                await self._book.close(tenant, job_id)

    async def _sweep_erased(self) -> int:
        """Remove what was written for erased tenants by work that was still under way."""
        count = 0
        for mark in await self._store.list(ERASED):
            last_ms = mark.modified_ms + self._settings.limits.deadline_ms
            tenant = mark.key.removeprefix(ERASED)
            left = await self._store.list(f"{tenant}/")
            goes = [each.key for each in left if each.modified_ms <= last_ms]
            await delete_all(self._store, goes)
            count += len(goes)
            for folder in tenant_folders(tenant):
                await self._memory.delete_all(folder)
            if now_ms() > last_ms + ORPHAN_MS:
                await self._store.delete(mark.key)
        return count


@dataclass(slots=True)
class _Shelf:
    """A tenant's objects by their kind. Knows nothing of stores."""

    tenant: str
    now_ms: int
    plain: dict[str, list[StoredObject]] = field(default_factory=lambda: defaultdict(list))
    folders: dict[str, dict[str, list[StoredObject]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    media: dict[str, list[StoredObject]] = field(default_factory=lambda: defaultdict(list))
    """Media and the facts about them, by object id."""
    marks: list[tuple[str, str, StoredObject]] = field(default_factory=list)
    """Object id, holder, mark."""
    holders: set[str] = field(default_factory=set)

    def add(self, stored: StoredObject) -> None:
        kind, _, rest = stored.key.removeprefix(f"{self.tenant}/").partition("/")
        if kind in MEDIA:
            self.media[f"{kind}/{rest}"].append(stored)
        elif kind == "refs":
            self.media[rest].append(stored)
        elif kind == "holds":
            object_id, _, holder = rest.rpartition("/")
            self.marks.append((object_id, holder, stored))
        elif kind in ("jobs", "conversations"):
            name, _, last = rest.partition("/")
            self.folders[kind][name].append(stored)
            if last in ("head", "state"):
                self.holders.add(name)
        else:
            self.plain[kind].append(stored)

    def is_old(self, objects: Iterable[StoredObject], life_ms: float) -> bool:
        return all(each.modified_ms < self.now_ms - life_ms for each in objects)

    def has_head(self, objects: Iterable[StoredObject]) -> bool:
        return any(each.key.endswith("/head") for each in objects)

    def loose_marks(self) -> set[str]:
        """Marks of holders that are gone."""
        return {
            mark.key
            for _, holder, mark in self.marks
            if holder not in self.holders and self.is_old([mark], ORPHAN_MS)
        }

    def loose_media(self, life_ms: float) -> set[str]:
        """Media that nobody holds and that are old, and halves whose other half never came."""
        loose = self.loose_marks()
        held = {object_id for object_id, _, mark in self.marks if mark.key not in loose}
        goes = set[str]()
        for object_id, objects in self.media.items():
            life = ORPHAN_MS if len(objects) == 1 else life_ms
            if object_id not in held and self.is_old(objects, life):
                goes |= {each.key for each in objects}
        return goes
