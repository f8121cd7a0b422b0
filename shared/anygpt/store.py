"""The store: immutable objects by key. `minio.py` is the real one, `store_folder.py` its in-process twin."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from anygpt.errors import InvalidInput, TooLarge

PIECE_BYTES = 256 * 1024
KEY = re.compile(r"(?!.*(?:^|/)\.)[A-Za-z0-9._=+@-]+(?:/[A-Za-z0-9._=+@-]+)*")
LONGEST_KEY = 512


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What a listing tells of an object."""

    key: str
    size_bytes: int
    modified_ms: int


class Store(Protocol):
    """Objects by key; a key is ASCII without user text, segments divided by `/`, none begins with a dot.

    Whatever fails in the server or the disk behind it is raised as Unavailable.
    """

    async def put(self, key: str, source: bytes | Path, media_type: str, *, if_absent: bool = False) -> bool:
        """Write an object whole or not at all. With `if_absent` it keeps one that exists: False."""
        ...

    async def get(self, key: str, limit_bytes: int) -> bytes:
        """Read an object. Raises NotFound; TooLarge before any byte is read when it exceeds `limit_bytes`."""
        ...

    def stream(self, key: str) -> AsyncGenerator[bytes]:
        """Read an object in pieces of at most 256 KiB; whoever leaves early calls `aclose`.

        Raises NotFound.
        """
        ...

    async def folders(self, prefix: str) -> list[str]:
        """The segments that follow `prefix`, which is empty or ends with `/`, in keys that go on behind them."""
        ...

    async def list(self, prefix: str) -> list[StoredObject]:
        """The objects below `prefix`, in the order of their keys."""
        ...

    async def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""
        ...

    async def presign(self, key: str, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """A URL that carries its own short-lived permission. Raises Unserved where no server can serve it."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


def check_key(key: str) -> str:
    """The key itself. Raises InvalidInput when it is not a key."""
    if len(key) > LONGEST_KEY or not KEY.fullmatch(key):
        raise InvalidInput(f"not an object key: {key[:LONGEST_KEY]!r}", field="key")
    return key


def check_object_size(size: int, limit_bytes: int) -> None:
    """Raise TooLarge when an object of `size` bytes exceeds `limit_bytes`."""
    if size > limit_bytes:
        raise TooLarge(f"an object of {size} bytes exceeds the limit of {limit_bytes} bytes")
