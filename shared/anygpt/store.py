"""The store: immutable objects by key. `minio.py` is the real one, `FolderStore` its twin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a listing tells of an object."""

    key: str
    size_bytes: int
    modified_ms: int


class Store(Protocol):
    """Objects by key; a key is ASCII without user text, segments divided by `/`."""

    async def put(self, key: str, source: bytes | Path, media_type: str, *, if_absent: bool = False) -> bool:
        """Write an object whole or not at all. With `if_absent` an existing one is kept and False returned."""
        ...

    async def get(self, key: str, limit_bytes: int) -> bytes:
        """Read an object. Raises NotFound; TooLarge before any byte is read when it exceeds `limit_bytes`."""
        ...

    def stream(self, key: str) -> AsyncIterator[bytes]:
        """Read an object in pieces of at most 256 KiB. Raises NotFound."""
        ...

    async def list(self, prefix: str) -> list[StoredObject]:
        """The objects below `prefix`, in the order of their keys."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""
        ...

    async def presign(self, key: str, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """A URL that carries its own short-lived permission. Raises Unserved where there is no server to serve it."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...
