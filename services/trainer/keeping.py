"""Runs in the store: what a stage has learned survives the machine that it ran on."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from anygpt.store import Store
from services.trainer.whole import UNFINISHED, written_whole

PREFIX = "trainer/runs/"


class KeptRuns:
    """Copies of runs' folders: checkpoints, curves, tables and pictures, the newest of each file."""

    def __init__(self, store: Store, runs: Path) -> None:
        self._store = store
        self._runs = runs
        self._kept: dict[Path, tuple[int, int]] = {}

    async def fetch(self) -> None:
        """Bring what this machine does not have, so that a run goes on where another one left it."""
        for found in await self._store.list(PREFIX):
            path = self._runs / found.key.removeprefix(PREFIX)
            if not path.exists():
                await self._bring(found.key, path)

    async def keep(self) -> None:
        """Copy what has changed since it was copied last. Raises Unavailable as the store does."""
        for path in sorted(self._runs.rglob("*")):
            if path.suffix == UNFINISHED or not path.is_file():
                continue
            state = (path.stat().st_mtime_ns, path.stat().st_size)
            if self._kept.get(path) != state:
                kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                await self._store.put(f"{PREFIX}{path.relative_to(self._runs).as_posix()}", path, kind)
                self._kept[path] = state

    async def _bring(self, key: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished, unfinished.open("wb") as file:
            async for piece in self._store.stream(key):
                file.write(piece)
