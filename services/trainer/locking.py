"""Locks between processes: files beside what they guard, free again when whoever holds them has ended."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def lock_beside(path: Path) -> Iterator[IO[str]]:
    """The file to lock for a path, which need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        yield lock


def taken(lock: IO[str]) -> bool:
    """Whether a lock was free, and is held now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
