"""The real memory: Redis."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from anygpt.errors import Unavailable

TIMEOUT_S = 2.0
CONNECTIONS = 8
"""Most that are open at once: a burst waits for one of them, and leaves none behind."""
DELETE_IF_EQUAL = """
if redis.call("GET", KEYS[1]) == ARGV[1] then return redis.call("DEL", KEYS[1]) end
return 0
"""


class RedisMemory:
    """Values in one database of a server; what the server evicts or loses is lost."""

    def __init__(self, url: str) -> None:
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS,
            timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
        )
        self._redis = Redis.from_pool(pool)
        self._delete_if_equal = self._redis.register_script(DELETE_IF_EQUAL)

    async def open(self) -> RedisMemory:
        """Reach the server once. Raises Unavailable."""
        with _translating():
            await self._redis.ping()
        return self

    async def get(self, key: str) -> bytes | None:
        """See Memory."""
        with _translating():
            value = await self._redis.get(key)
            return value.encode() if isinstance(value, str) else value

    async def set(self, key: str, value: bytes, ttl_s: float, *, if_absent: bool = False) -> bool:
        """See Memory."""
        with _translating():
            return bool(await self._redis.set(key, value, px=max(1, math.ceil(ttl_s * 1000)), nx=if_absent))

    async def delete(self, key: str, expected: bytes | None = None) -> bool:
        """See Memory."""
        with _translating():
            if expected is None:
                return bool(await self._redis.delete(key))
            return bool(await self._delete_if_equal(keys=[key], args=[expected]))

    async def delete_all(self, prefix: str) -> None:
        """See Memory."""
        pattern = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in prefix) + "*"
        with _translating():
            async for key in self._redis.scan_iter(match=pattern, count=1000):
                await self._redis.delete(key)

    async def close(self) -> None:
        """See Memory."""
        await self._redis.aclose()


@contextlib.contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable(
            f"the memory does not answer: {type(error).__name__}", retry_after_ms=1000
        ) from error
