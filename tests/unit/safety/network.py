"""A small Internet: names with addresses, and real servers on the loopback that stand at some of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.gateway.media_url import Streams
from services.gateway.url_rules import Target

PUBLIC = "93.184.216.34"


class SmallNetwork:
    """Answers names from a table, one answer after the other; connects to a local port whatever the address."""

    def __init__(self, names: dict[str, list[Sequence[str]]], port: int = 0) -> None:
        self._names = names
        self._port = port
        self.connected: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """The next answer for the name; the last one stays."""
        if host not in self._names:
            raise OSError("no such name")
        answers = self._names[host]
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect(self, address: str, target: Target) -> Streams:
        """To the server on the loopback."""
        self.connected.append(address)
        return await asyncio.open_connection("127.0.0.1", self._port)


@asynccontextmanager
async def served(answers: dict[str, bytes], drip_s: float = 0.0) -> AsyncIterator[int]:
    """A server that answers each path with these very bytes; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readline()).split()[1].decode()
        while (await reader.readline()).strip():
            pass
        try:
            for byte in range(len(answers[path])) if drip_s else ():
                writer.write(answers[path][byte : byte + 1])
                await writer.drain()
                await asyncio.sleep(drip_s)
            writer.write(b"" if drip_s else answers[path])
            await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """An HTTP answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(location: str) -> bytes:
    """An answer that leads elsewhere."""
    return answer(b"", f"Location: {location}", status="302 Found")
