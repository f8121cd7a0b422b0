"""Folders of orders in the store: what has been learned survives the machine that it was learned on."""

from __future__ import annotations

import logging
import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path

from anygpt.errors import InvalidInput
from anygpt.store import Store, StoredObject, check_key
from anygpt.whole import UNFINISHED, written_whole
from services.trainer.order import FILE

log = logging.getLogger(__name__)
PREFIX = "trainer/"


class KeptOrders:
    """Copies of orders' folders: the pack as far as it is, and checkpoints, curves, tables and pictures of its runs.

    The order's own file is the last to go and the first to come: what it says has been done is there.
    """

    def __init__(self, store: Store, orders: Path) -> None:
        self._store = store
        self._orders = orders
        self._kept: dict[Path, tuple[int, int]] = {}

    async def fetch(self, order_id: str) -> int:
        """Bring what this machine does not have, or has as it was before another went on.

        Returns how many files the store has.
        """
        for found in await self._store.list(f"{PREFIX}{order_id}/{FILE}"):
            await self._bring(found)
        kept = await self._store.list(f"{PREFIX}{order_id}/")
        for found in kept:
            await self._bring(found)
        return len(kept)

    async def keep(self, order_id: str) -> None:
        """Copy what has changed since it was copied last. Raises Unavailable as the store does."""
        for path, key in self._files(order_id):
            state = _state(path)
            if self._kept.get(path) != state:
                kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                await self._store.put(key, path, kind)
                self._kept[path] = state

    def _files(self, order_id: str) -> Iterator[tuple[Path, str]]:
        """What can be kept of an order, with its keys: no file that is under way, and none of no lawful name."""
        folder = self._orders / order_id
        for path in sorted(folder.rglob("*"), key=lambda path: (path == folder / FILE, path)):
            if path.suffix == UNFINISHED or path.name.startswith(".") or not path.is_file():
                continue
            try:
                yield path, check_key(f"{PREFIX}{path.relative_to(self._orders).as_posix()}")
            except InvalidInput as error:
                log.warning("a file is not kept: %s", error.message)

    async def _bring(self, found: StoredObject) -> None:
        """Bring a file that is not here, or is older here, and date it as the store does, whose clock alone counts."""
        path, modified_ns = self._orders / found.key.removeprefix(PREFIX), 1_000_000 * found.modified_ms
        if path.exists() and path.stat().st_mtime_ns >= modified_ns:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            with unfinished.open("wb") as file:
                async for piece in self._store.stream(found.key):
                    file.write(piece)
            os.utime(unfinished, ns=(modified_ns, modified_ns))
        self._kept[path] = _state(path)


def _state(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_size
