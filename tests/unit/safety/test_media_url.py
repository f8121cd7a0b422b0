"""A URL in a request reaches what an operator allows, and no trick reaches anything else."""

from __future__ import annotations

import asyncio
import hashlib
import io
import ssl
from collections.abc import Sequence

import pytest
import trustme

from anygpt.errors import AnyGPTError, InvalidInput, Unserved
from services.gateway.media_url import Fetched, Internet, UrlFetcher
from services.gateway.settings import UrlSettings
from services.gateway.url_rules import Target, is_public
from tests.unit.safety.network import PUBLIC, SmallNetwork, answer, redirect, served
from tests.unit.safety.tricks import ADDRESSES, SPELLINGS

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ALLOWED = ("https://media.example.com", "https://*.cdn.example.org", "http://plain.example.com:8080")


def fetcher(network: SmallNetwork, **settings: object) -> UrlFetcher:
    """A fetcher in the small network."""
    return UrlFetcher(UrlSettings.model_validate({"origins": ALLOWED, **settings}), 1000, network)


async def fetched(made: UrlFetcher, url: str) -> tuple[Fetched, bytes]:
    """What comes of a URL."""
    file = io.BytesIO()
    return await made.fetch(url, file, "parts[0].url"), file.getvalue()


async def refused(made: UrlFetcher, url: str) -> str:
    """The reason of a refusal, which names its field and nothing of the URL."""
    with pytest.raises(AnyGPTError) as raised:
        await fetched(made, url)
    assert raised.value.field == "parts[0].url"
    assert "example" not in raised.value.message
    return raised.value.reason


def test_there_are_enough_tricks() -> None:
    assert len(set(SPELLINGS)) >= 90
    assert len(set(ADDRESSES)) >= 40


@pytest.mark.parametrize("url", SPELLINGS)
async def test_a_tricky_url_never_opens_a_connection(url: str) -> None:
    network = SmallNetwork({"media.example.com": [[PUBLIC]], "evil.com": [["127.0.0.1"]]})
    assert await refused(fetcher(network), url) in ("URL_MALFORMED", "URL_FORBIDDEN")
    assert network.connected == []


@pytest.mark.parametrize("address", ADDRESSES)
async def test_an_allowed_name_that_leads_to_no_public_address_is_refused(address: str) -> None:
    assert not is_public(address)
    for answers in ([address], [PUBLIC, address], [address, PUBLIC]):
        network = SmallNetwork({"media.example.com": [answers]})
        assert await refused(fetcher(network), "https://media.example.com/a") == "URL_FORBIDDEN"
        assert network.connected == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111"])
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


async def test_an_allowed_url_is_fetched_whole() -> None:
    body = b"\x89PNG" * 100
    async with served({"/a%20b?x=1": answer(body, "Content-Type: image/png")}) as port:
        network = SmallNetwork({"media.example.com": [[PUBLIC]]}, port)
        got, data = await fetched(fetcher(network), "https://MEDIA.example.com/a%20b?x=1")
    assert (data, got.media_type, got.sha256) == (body, "image/png", hashlib.sha256(body).hexdigest())


async def test_the_address_that_was_checked_is_the_one_that_is_called() -> None:
    changing: list[Sequence[str]] = [[PUBLIC], ["127.0.0.1"], ["169.254.169.254"]]
    async with served({"/a": answer(b"media")}) as port:
        network = SmallNetwork({"media.example.com": changing}, port)
        made = fetcher(network)
        assert (await fetched(made, "https://media.example.com/a"))[1] == b"media"
        assert await refused(made, "https://media.example.com/a") == "URL_FORBIDDEN"
    assert network.connected == [PUBLIC]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://169.254.169.254/latest/", "URL_MALFORMED"),
        ("file:///etc/passwd", "URL_MALFORMED"),
        ("//evil.com/a", "URL_FORBIDDEN"),
        ("http://media.example.com/a", "URL_FORBIDDEN"),
        ("https://media.example.com:22/", "URL_FORBIDDEN"),
        ("https://inner.cdn.example.org/a", "URL_FORBIDDEN"),
        ("https://media.example.com@127.0.0.1/", "URL_MALFORMED"),
        ("/again", "URL_REDIRECTS"),
        ("", "URL_REDIRECTS"),
    ],
)
async def test_a_redirect_is_checked_as_the_first_url_was(location: str, reason: str) -> None:
    async with served({"/again": redirect(location)}) as port:
        names: dict[str, list[Sequence[str]]] = {
            "media.example.com": [[PUBLIC]], "inner.cdn.example.org": [["10.0.0.7"]],
        }  # fmt: skip
        network = SmallNetwork(names, port)
        assert await refused(fetcher(network), "https://media.example.com/again") == reason
    assert set(network.connected) == {PUBLIC}


async def test_a_redirect_to_an_allowed_origin_is_followed() -> None:
    answers = {"/a": redirect("https://x.cdn.example.org/b"), "/b": answer(b"media")}
    async with served(answers) as port:
        network = SmallNetwork({"media.example.com": [[PUBLIC]], "x.cdn.example.org": [["8.8.8.8"]]}, port)
        assert (await fetched(fetcher(network), "https://media.example.com/a"))[1] == b"media"
    assert network.connected == [PUBLIC, "8.8.8.8"]


@pytest.mark.parametrize(
    ("bytes_sent", "reason"),
    [
        (answer(bytes(1001)), "MEDIA_TOO_LARGE"),
        (CHUNKED + b"3e8\r\n" + bytes(1000) + b"\r\n1\r\na\r\n0\r\n\r\n", "MEDIA_TOO_LARGE"),
        (answer(b"zipped", "Content-Encoding: gzip"), "URL_UNREACHABLE"),
        (answer(b"", status="404 Not Found"), "URL_UNREACHABLE"),
        (answer(b"", status="206 Partial Content"), "URL_UNREACHABLE"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut", "URL_UNREACHABLE"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000, "URL_UNREACHABLE"),
        (b"220 ftp ready\r\n", "URL_UNREACHABLE"),
        (b"", "URL_UNREACHABLE"),
    ],
    ids=["too long", "too long in chunks", "packed", "missing", "partial", "cut", "endless head", "no HTTP", "nothing"],
)  # fmt: skip
async def test_an_answer_that_is_no_media_is_refused(bytes_sent: bytes, reason: str) -> None:
    async with served({"/a": bytes_sent}) as port:
        network = SmallNetwork({"media.example.com": [[PUBLIC]]}, port)
        assert await refused(fetcher(network), "https://media.example.com/a") == reason


async def test_a_server_that_drips_is_cut_by_the_clock() -> None:
    async with served({"/a": answer(bytes(500))}, drip_s=0.01) as port:
        network = SmallNetwork({"media.example.com": [[PUBLIC]]}, port)
        assert await refused(fetcher(network, seconds=0.3), "https://media.example.com/a") == "URL_TOO_SLOW"


async def test_without_allowed_origins_no_url_is_served() -> None:
    network = SmallNetwork({"media.example.com": [[PUBLIC]]})
    with pytest.raises(Unserved) as raised:
        await fetched(fetcher(network, origins=()), "https://media.example.com/a")
    assert raised.value.reason == "URL_UNSERVED"


@pytest.mark.parametrize(
    "origin", ["media.example.com", "https://*", "https://127.0.0.1", "https://a.example/x"]
)
def test_an_origin_that_is_none_is_refused_at_once(origin: str) -> None:
    with pytest.raises(InvalidInput):
        fetcher(SmallNetwork({}), origins=(origin,))


async def test_the_real_network_speaks_tls_and_believes_no_stranger() -> None:
    certificate = trustme.CA().issue_cert("media.example.com")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    async with await asyncio.start_server(lambda _, __: None, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            await Internet().connect("127.0.0.1", Target("https", "media.example.com", port, "/"))
