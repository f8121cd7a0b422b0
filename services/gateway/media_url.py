"""Fetches media by URL, and reaches nothing that a client may not: server-side request forgery ends here.

A URL is read by one strict grammar, its origin must be allowed, its name is resolved once, every address must be
public, and the connection goes to the very address that was checked. Each redirect begins anew.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol
from urllib.parse import urljoin

import h11

from anygpt.errors import InvalidInput, TooLarge
from services.gateway.settings import UrlSettings
from services.gateway.url_rules import Target, UrlRules, check_public

CHUNK = 64 * 1024
HEAD_BYTES = 16 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Network(Protocol):
    """Names and connections."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """All addresses of a name. Raises OSError."""
        ...

    async def connect(self, address: str, target: Target) -> Streams:
        """A connection to that address; TLS checks the target's name. Raises OSError."""
        ...


class Internet:
    """The real network."""

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        """See Network."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [str(place[4][0]) for place in found]

    async def connect(self, address: str, target: Target) -> Streams:
        """See Network."""
        if not target.is_secure:
            return await asyncio.open_connection(address, target.port)
        context = ssl.create_default_context()
        return await asyncio.open_connection(address, target.port, ssl=context, server_hostname=target.host)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was written to the file."""

    media_type: str
    """As the server says."""
    sha256: str


class UrlFetcher:
    """Fetches one file at a time for each request, a few in all."""

    def __init__(self, settings: UrlSettings, limit_bytes: int, network: Network) -> None:
        self._settings = settings
        self._rules = UrlRules(settings.origins)
        self._limit_bytes = limit_bytes
        self._network = network
        self._places = asyncio.Semaphore(settings.at_once)

    def check(self, url: str, field: str) -> Target:
        """Where a URL leads. Raises Unserved when none is fetched here, InvalidInput when not this one."""
        return self._rules.read(url, field)

    async def fetch(self, url: str, file: BinaryIO | Any, field: str) -> Fetched:
        """Write the body to `file`. Raises InvalidInput or TooLarge; no message names what was found."""
        try:
            async with asyncio.timeout(self._settings.seconds), self._places:
                return await self._followed(url, file, field)
        except TimeoutError:
            raise InvalidInput("the URL answers too slowly", reason="URL_TOO_SLOW", field=field) from None
        except (OSError, h11.RemoteProtocolError) as error:
            raise _unreachable(field) from error

    async def _followed(self, url: str, file: BinaryIO | Any, field: str) -> Fetched:
        for _ in range(self._settings.redirects + 1):
            target = self.check(url, field)
            async with self._opened(target, field) as exchange:
                response = await exchange.ask(target)
                if response.status_code not in REDIRECTS:
                    return await self._received(response, exchange, file, field)
                location = exchange.header(response, b"location")
            url = urljoin(url, location)
        raise InvalidInput("the URL redirects too often", reason="URL_REDIRECTS", field=field)

    @asynccontextmanager
    async def _opened(self, target: Target, field: str) -> AsyncIterator[_Exchange]:
        addresses = await self._network.resolve(target.host, target.port)
        check_public(addresses, field)
        reader, writer = await self._network.connect(addresses[0], target)
        try:
            yield _Exchange(reader, writer)
        finally:
            writer.transport.abort()

    async def _received(
        self, response: h11.Response, exchange: _Exchange, file: BinaryIO | Any, field: str
    ) -> Fetched:
        encoding = exchange.header(response, b"content-encoding").lower()
        if response.status_code != 200 or encoding not in ("", "identity"):
            raise _unreachable(field)
        digest, size = hashlib.sha256(), 0
        async for data in exchange.body():
            size += len(data)
            if size > self._limit_bytes:
                raise TooLarge(
                    f"media has at most {self._limit_bytes} bytes", reason="MEDIA_TOO_LARGE", field=field
                )
            digest.update(data)
            await asyncio.to_thread(file.write, data)
        file.flush()
        return Fetched(exchange.header(response, b"content-type"), digest.hexdigest())


class _Exchange:
    """One question and its answer, in HTTP/1.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)

    async def ask(self, target: Target) -> h11.Response:
        """Send the request; the head of the answer."""
        headers = [
            ("Host", target.authority), ("User-Agent", "anygpt"), ("Accept", "*/*"),
            ("Accept-Encoding", "identity"), ("Connection", "close"),
        ]  # fmt: skip
        request = h11.Request(method="GET", target=target.path, headers=headers)
        for event in (request, h11.EndOfMessage()):
            self._writer.write(self._connection.send(event) or b"")
        await self._writer.drain()
        while not isinstance(event := await self._next(), h11.Response):
            if not isinstance(event, h11.InformationalResponse):
                raise ConnectionError("the answer has no head")
        return event

    async def body(self) -> AsyncIterator[bytes]:
        """The pieces of the body. Raises RemoteProtocolError when it is cut."""
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    @staticmethod
    def header(response: h11.Response, name: bytes) -> str:
        """A header's text; empty when there is none."""
        return next((value.decode("latin-1") for key, value in response.headers if key == name), "")

    async def _next(self) -> Any:
        while (event := self._connection.next_event()) is h11.NEED_DATA:
            self._connection.receive_data(await self._reader.read(CHUNK))
        return event


def _unreachable(field: str) -> InvalidInput:
    return InvalidInput("the URL gives no media", reason="URL_UNREACHABLE", field=field)
