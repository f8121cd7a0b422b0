"""The memory: small values that may be lost, with claims and expiry.

`redis.py` is the real one, `SqliteMemory` its in-process twin.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from anygpt.errors import Unavailable

T = TypeVar("T")

log = logging.getLogger(__name__)
SILENT_S = 1.0
"""How long a memory that failed is not asked again."""


class Memory(Protocol):
    """A cache with expiry and an atomic claim; whoever needs the truth asks the store."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None when it is absent or expired."""
        ...

    async def set(self, key: str, value: bytes, ttl_s: float, *, if_absent: bool = False) -> bool:
        """Write a value. With `if_absent` an existing one is kept and False returned, atomically."""
        ...

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """Remove a value, only if it equals `expected` when that is given, atomically; tell whether it did."""
        ...

    async def delete_all(self, prefix: str) -> None:
        """Remove every value whose key begins so."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class LossyMemory:
    """A memory that is empty while its server does not answer: what is in it may be lost at any time anyway.

    After a failure the server is left alone for a moment, so that nobody waits for it again and again.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._silent_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """See Memory."""
        return await self._try(lambda: self._memory.get(key), None)

    async def set(self, key: str, value: bytes, ttl_s: float, *, if_absent: bool = False) -> bool:
        """See Memory. A claim that nobody can remember is granted."""
        return await self._try(lambda: self._memory.set(key, value, ttl_s, if_absent=if_absent), True)

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """See Memory."""
        return await self._try(lambda: self._memory.delete(key, expected), False)

    async def delete_all(self, prefix: str) -> None:
        """See Memory; this alone raises Unavailable, for whoever asks wants to be sure."""
        await self._memory.delete_all(prefix)

    async def close(self) -> None:
        """Nothing: the memory belongs to whoever opened it."""

    async def _try(self, call: Callable[[], Awaitable[T]], otherwise: T) -> T:
        if time.monotonic() < self._silent_until:
            return otherwise
        try:
            return await call()
        except Unavailable as error:
            log.warning("going on without memory: %s", error.message)
            self._silent_until = time.monotonic() + SILENT_S
            return otherwise


SCHEMA = """
CREATE TABLE IF NOT EXISTS memory (
    key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS memory_expiry ON memory (expires_ms);
"""
SET = """
INSERT INTO memory (key, value, expires_ms) VALUES (?1, ?2, ?3)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_ms = excluded.expires_ms
WHERE ?4 OR memory.expires_ms <= ?5
"""
GET = "SELECT value FROM memory WHERE key = ? AND expires_ms > ?"
DELETE = "DELETE FROM memory WHERE key = ?1 AND expires_ms > ?2 AND (?3 IS NULL OR value = ?3)"
DELETE_ALL = "DELETE FROM memory WHERE substr(key, 1, length(?1)) = ?1"
FORGET_EXPIRED = """
DELETE FROM memory WHERE key IN (SELECT key FROM memory WHERE expires_ms <= ? ORDER BY expires_ms LIMIT 256)
"""
FORGET_EVERY_WRITES = 256
BUSY_S = 2.0


class SqliteMemory:
    """One SQLite file in WAL mode; it outlives the process, and starts empty when a crash of the machine
    damaged it.

    A call takes tens of microseconds on the event loop, less than a change of threads: nothing is synced to
    the disk, for what is here may be lost.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._writes = 0

    async def open(self) -> SqliteMemory:
        """Open the file, or begin a new one where there is none or a damaged one."""
        self._connection = await asyncio.to_thread(self._open)
        return self

    async def get(self, key: str) -> bytes | None:
        """See Memory."""
        row = self._execute(GET, (key, _now_ms())).fetchone()
        return None if row is None else bytes(row[0])

    async def set(self, key: str, value: bytes, ttl_s: float, *, if_absent: bool = False) -> bool:
        """See Memory."""
        now_ms = _now_ms()
        self._writes += 1
        if self._writes % FORGET_EVERY_WRITES == 0:
            self._execute(FORGET_EXPIRED, (now_ms,))
        row = (key, value, now_ms + math.ceil(ttl_s * 1000), not if_absent, now_ms)
        return self._execute(SET, row).rowcount == 1

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """See Memory."""
        return self._execute(DELETE, (key, _now_ms(), expected)).rowcount == 1

    async def delete_all(self, prefix: str) -> None:
        """See Memory."""
        self._execute(DELETE_ALL, (prefix,))

    async def close(self) -> None:
        """See Memory."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _execute(self, statement: str, row: tuple[object, ...]) -> sqlite3.Cursor:
        if self._connection is None:
            raise Unavailable("the memory is closed")
        try:
            return self._connection.execute(statement, row)
        except sqlite3.Error as error:
            raise Unavailable(f"the memory's file failed: {error}") from error

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _connect(self._file)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the memory's file cannot be opened: {error}") from error
        except sqlite3.DatabaseError:
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self._file}{suffix}").unlink(missing_ok=True)
            return _connect(self._file)


def _connect(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        if connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("damaged")
        connection.executescript(SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
