"""TLS of gRPC servers: certificates from files, read again when they change, and nothing in the open by accident."""

from __future__ import annotations

import ssl
from ipaddress import ip_address
from pathlib import Path

import grpc

from anygpt.errors import Precondition
from anygpt.reloaded import Reloaded
from anygpt.settings import ServiceSettings, TlsSettings

LOCAL_NAMES = frozenset({"localhost", "ip6-localhost"})


def is_local(address: str) -> bool:
    """Whether an address, or each of several (`ipv4:host:port,host:port`), is of this machine alone."""
    if address.startswith("unix:"):
        return True
    hosts = address.removeprefix("ipv4:").removeprefix("ipv6:").removeprefix("dns:").lstrip("/").split(",")
    return all(_is_loopback(_host(each)) for each in hosts)


def check_exposure(settings: ServiceSettings) -> None:
    """Raise Precondition when the settings would open a door to the network that anybody can listen at or enter."""
    if settings.insecure or is_local(settings.host):
        return
    if settings.tls.cert_file is None:
        raise Precondition(
            f"{settings.host} is beyond loopback: set tls.cert_file and tls.key_file, or say --insecure",
            reason="INSECURE",
            field="tls.cert_file",
        )
    if not settings.access.is_asked and settings.tls.client_ca_file is None:
        raise Precondition(
            f"{settings.host} is beyond loopback: set access.keys_file or access.oidc, or say --insecure",
            reason="INSECURE",
            field="access.keys_file",
        )


def bind(server: grpc.aio.Server, settings: ServiceSettings) -> tuple[int, str]:
    """Bind a server; its port, and the address at which the services of its process reach it.

    Raises Precondition when the port is taken, or the host is none of this machine's.
    """
    address = f"{settings.host}:{settings.port}"
    secrets = None if settings.tls.cert_file is None else server_credentials(settings.tls)
    try:
        port = server.add_secure_port(address, secrets) if secrets else server.add_insecure_port(address)
    except RuntimeError as error:
        raise Precondition(f"{address} cannot be bound", reason="PORT_TAKEN", field="port") from error
    if secrets is None:
        return port, f"127.0.0.1:{port}"
    # No certificate need name the loopback, so that the process has a way of its own, which asks for its own key.
    return port, f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"


def server_credentials(settings: TlsSettings) -> grpc.ServerCredentials:
    """Credentials of a server; each new connection gets the certificate that the files hold by then."""
    assert settings.cert_file
    assert settings.key_file
    cert_file, key_file, ca_file = settings.cert_file, settings.key_file, settings.client_ca_file

    def load() -> grpc.ServerCertificateConfiguration:
        _check_pair(cert_file, key_file)
        pair = (key_file.read_bytes(), cert_file.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], ca_file.read_bytes() if ca_file else None)

    files = [cert_file, key_file, *([ca_file] if ca_file else [])]
    current = Reloaded(files, load)
    return grpc.dynamic_ssl_server_credentials(
        current.get(), current.get, require_client_authentication=ca_file is not None
    )


def _check_pair(cert_file: Path, key_file: Path) -> None:
    """Raise OSError unless the key is that of the certificate: the two files may change one after the other."""
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file)


def _host(address: str) -> str:
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address if address.count(":") > 1 else address.partition(":")[0]


def _is_loopback(host: str) -> bool:
    if host in LOCAL_NAMES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
