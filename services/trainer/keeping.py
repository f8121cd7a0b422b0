"""Folders of orders in the store: what has been learned survives the machine that it was learned on."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from anygpt.store import Store
from services.trainer.whole import UNFINISHED, written_whole

PREFIX = "trainer/"


class KeptOrders:
    """Copies of orders' folders: the pack as far as it is, and checkpoints, curves, tables and pictures of its runs."""

    def __init__(self, store: Store, orders: Path) -> None:
        self._store = store
        self._orders = orders
        self._kept: dict[Path, tuple[int, int]] = {}

    async def fetch(self, order_id: str) -> int:
        """Bring what this machine does not have, or has as it was before another went on.

        Returns how many files the store has.
        """
        kept = await self._store.list(f"{PREFIX}{order_id}/")
        for found in kept:
            path = self._orders / found.key.removeprefix(PREFIX)
            if not path.exists() or 1000 * path.stat().st_mtime < found.modified_ms:
                await self._bring(found.key, path)
        return len(kept)

    async def keep(self, order_id: str) -> None:
        """Copy what has changed since it was copied last. Raises Unavailable as the store does."""
        for path in sorted((self._orders / order_id).rglob("*")):
            if path.suffix == UNFINISHED or not path.is_file():
                continue
            state = (path.stat().st_mtime_ns, path.stat().st_size)
            if self._kept.get(path) != state:
                kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                await self._store.put(f"{PREFIX}{path.relative_to(self._orders).as_posix()}", path, kind)
                self._kept[path] = state

    async def _bring(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished, unfinished.open("wb") as file:
            async for piece in self._store.stream(key):
                file.write(piece)
