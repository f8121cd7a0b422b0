"""The memory: small values that may be lost, with claims and expiry. `redis.py` is the real one."""

from __future__ import annotations

from typing import Protocol


class Memory(Protocol):
    """A cache with expiry and an atomic claim; whoever needs the truth asks the store."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None when it is absent or expired."""
        ...

    async def set(self, key: str, value: bytes, ttl_s: float, *, if_absent: bool = False) -> bool:
        """Write a value. With `if_absent` an existing one is kept and False returned, atomically."""
        ...

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Remove a value, only if it equals `expected` when that is given, atomically; tell whether it was there."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...
