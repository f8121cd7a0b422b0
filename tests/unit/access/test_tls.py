"""TLS on real sockets: who may listen, who may connect, and what happens when certificates change."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anygpt.credentials import Credentials, open_channel
from anygpt.errors import InvalidInput, Precondition
from anygpt.keys import Keys, write_keys
from anygpt.main import Process, opened_runtime, running
from anygpt.settings import AccessSettings, ServiceSettings, TlsSettings
from anygpt.tls import is_local
from anygpt.v1 import anygpt_service_pb2, anygpt_service_pb2_grpc
from tests.servers.process import free_port
from tests.unit.access.certificates import Authority

SERVING = health_pb2.HealthCheckResponse.SERVING
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
TLS_HANDSHAKE = 0x16


@asynccontextmanager
async def served(folder: Path, **settings: Any) -> AsyncIterator[Process]:
    """A process without services: health and reflection."""
    async with running([], ServiceSettings(data=folder, port=0, **settings)) as process:
        yield process


async def health(address: str, credentials: Credentials) -> int:
    """What the server at the address says of itself."""
    async with open_channel(address, credentials) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
    return int(answer.status)


async def refusal(address: str, credentials: Credentials) -> grpc.StatusCode:
    """The status with which a connection fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(address, credentials)
    return caught.value.code()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_a_client_that_trusts_the_authority_is_served(tmp_path: Path, authority: Authority) -> None:
    async with served(tmp_path, tls=authority.server()) as process:
        assert await health(f"localhost:{process.port}", Credentials(ca_file=authority.file)) == SERVING


async def test_neither_plain_text_nor_another_authority_is_served(
    tmp_path: Path, authority: Authority
) -> None:
    stranger = Authority(tmp_path, "stranger")
    async with served(tmp_path, tls=authority.server()) as process:
        address = f"localhost:{process.port}"
        assert await refusal(address, Credentials()) is UNAVAILABLE
        assert await refusal(address, Credentials(ca_file=stranger.file)) is UNAVAILABLE


async def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(
    tmp_path: Path, authority: Authority
) -> None:
    tls = TlsSettings(**authority.server().model_dump() | {"client_ca_file": authority.file})
    cert_file, key_file = authority.issue("client", "client.example")
    other_cert, other_key = Authority(tmp_path, "other").issue("intruder", "client.example")
    async with served(tmp_path, tls=tls) as process:
        address = f"localhost:{process.port}"
        known = Credentials(ca_file=authority.file, cert_file=cert_file, key_file=key_file)
        assert await health(address, known) == SERVING
        assert await refusal(address, Credentials(ca_file=authority.file)) is UNAVAILABLE
        intruder = Credentials(ca_file=authority.file, cert_file=other_cert, key_file=other_key)
        assert await refusal(address, intruder) is UNAVAILABLE


async def test_the_next_connection_gets_the_certificate_that_the_files_hold(
    tmp_path: Path, authority: Authority
) -> None:
    async with served(tmp_path, tls=authority.server()) as process:
        address = f"localhost:{process.port}"
        assert await health(address, Credentials(ca_file=authority.file)) == SERVING
        successor = Authority(tmp_path, "successor")
        successor.server()
        assert await health(address, Credentials(ca_file=successor.file)) == SERVING
        assert await refusal(address, Credentials(ca_file=authority.file)) is UNAVAILABLE


async def test_a_certificate_without_its_key_changes_nothing(tmp_path: Path, authority: Authority) -> None:
    async with served(tmp_path, tls=authority.server()) as process:
        (tmp_path / "server.crt").write_bytes(authority.issue("other", "localhost")[0].read_bytes())
        trusting = Credentials(ca_file=authority.file)
        assert await health(f"localhost:{process.port}", trusting) == SERVING
        (tmp_path / "server.crt").write_text("half a certif")
        assert await health(f"localhost:{process.port}", trusting) == SERVING


async def test_a_door_to_the_network_is_closed_or_said_to_be_open(
    tmp_path: Path, authority: Authority
) -> None:
    keys_file = tmp_path / "keys.json"
    write_keys(keys_file, Keys())
    tls, access = authority.server(), AccessSettings(keys_file=keys_file)
    for missing, given in (
        ("tls.cert_file", {"access": access}),
        ("access.keys_file", {"tls": tls}),
    ):
        settings = ServiceSettings(data=tmp_path, host="0.0.0.0", **given)
        with pytest.raises(Precondition) as caught:
            async with opened_runtime(settings):
                pass
        assert (caught.value.reason, caught.value.field) == ("INSECURE", missing)
    for enough in ({"tls": tls, "access": access}, {"insecure": True}):
        async with served(tmp_path, host="0.0.0.0", **enough) as process:
            assert process.port


async def test_certificates_of_clients_are_credentials_enough(tmp_path: Path, authority: Authority) -> None:
    tls = TlsSettings(**authority.server().model_dump() | {"client_ca_file": authority.file})
    async with served(tmp_path, host="0.0.0.0", tls=tls) as process:
        assert await refusal(f"localhost:{process.port}", Credentials(ca_file=authority.file)) is UNAVAILABLE


def test_serve_says_in_one_line_why_it_does_not_open_such_a_door(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "anygpt", "serve", "batch", "--host", "0.0.0.0", "--data", str(tmp_path)]
    told = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert told.stderr.splitlines()[-1].startswith(
        "anygpt: INSECURE (tls.cert_file): 0.0.0.0 is beyond loopback"
    )


async def test_probes_find_health_alone_without_tls(tmp_path: Path, authority: Authority) -> None:
    port = free_port()
    async with served(tmp_path, tls=authority.server(), health_port=port):
        assert await health(f"127.0.0.1:{port}", Credentials()) == SERVING
        async with open_channel(f"127.0.0.1:{port}", Credentials()) as channel:
            stub = anygpt_service_pb2_grpc.AnyGPTServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Describe(anygpt_service_pb2.DescribeRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_client_speaks_tls_beyond_loopback_unless_told_otherwise() -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait((await reader.readexactly(1))[0])
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1") as server:
        address = f"0.0.0.0:{server.sockets[0].getsockname()[1]}"
        for credentials, first in ((Credentials(), TLS_HANDSHAKE), (Credentials(insecure=True), ord("P"))):
            assert await refusal(address, credentials) is UNAVAILABLE
            assert await heard.get() == first
            heard = asyncio.Queue()


def test_insecure_and_certificates_exclude_each_other(authority: Authority) -> None:
    with pytest.raises(InvalidInput):
        open_channel("localhost:1", Credentials(ca_file=authority.file, insecure=True))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8:50051",
        "localhost:50051",
        "[::1]:50051",
        "::1",
        "unix:/run/x",
        "ipv4:127.0.0.1:1,127.0.0.2:2",
    ],
)
def test_these_addresses_are_of_this_machine(address: str) -> None:
    assert is_local(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0", "[::]:50051", "::", "", "gateway:50051", "localhost.example.com:1", "10.0.0.1:1", "dns:///gateway:1",
        "ipv4:127.0.0.1:1,10.0.0.1:2", "127.0.0.1.example.com:1", "2130706433",
    ],
)  # fmt: skip
def test_these_addresses_are_not(address: str) -> None:
    assert not is_local(address)


def test_half_a_certificate_is_no_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="come together"):
        TlsSettings(cert_file=tmp_path / "x")
    with pytest.raises(ValueError, match="a server that has one"):
        TlsSettings(client_ca_file=tmp_path / "x")
