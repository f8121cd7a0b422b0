"""A TCP proxy that can be told to misbehave: between a service and its store."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import Enum
from typing import Self

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FULL_BODY = (
    b"<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its limit</Message></Error>"
)
FULL = (
    b"HTTP/1.1 507 Insufficient Storage\r\nContent-Type: application/xml\r\nConnection: close\r\n"
    + f"Content-Length: {len(FULL_BODY)}\r\n\r\n".encode()
    + FULL_BODY
)
PIECE = 64 * 1024


class Mood(Enum):
    """What becomes of the bytes of a client."""

    PASS = "pass"
    BUSY = "answered with 503"
    SILENT = "swallowed"
    FULL = "answered with 507 when they are to be kept"


class Proxy:
    """Listens on a free port of the loopback interface, in a thread of its own."""

    def __init__(self, target_port: int) -> None:
        self.mood = Mood.PASS
        self.port = 0
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def _end(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            upstream, to_upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
            back = asyncio.create_task(self._copy(upstream, writer))
            try:
                await self._forward(reader, to_upstream, writer)
            finally:
                back.cancel()
                to_upstream.close()
                writer.close()

    async def _forward(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, writer: asyncio.StreamWriter
    ) -> None:
        is_refused = False
        while data := await reader.read(PIECE):
            is_kept = data.startswith(b"PUT ")
            if not is_refused and (self.mood is Mood.BUSY or (self.mood is Mood.FULL and is_kept)):
                writer.write(BUSY if self.mood is Mood.BUSY else FULL)
                await writer.drain()
                is_refused = True
            elif not is_refused and self.mood is not Mood.SILENT:
                upstream.write(data)
                await upstream.drain()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                writer.write(data)
                await writer.drain()
        writer.close()
