"""A client's credentials, and the channel that they open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from anygpt.access import AUTHORIZATION_METADATA, BEARER
from anygpt.errors import InvalidInput
from anygpt.settings import ClientSettings
from anygpt.tls import is_local


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a client proves itself and what it trusts. All empty: nobody, and the system's authorities."""

    token: str = ""
    token_file: Path | None = None
    """Read at every call, so that a token can be renewed."""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure: bool = False
    """Without TLS beyond this machine."""

    @classmethod
    def of(cls, settings: ClientSettings) -> Self:
        """Those that the settings name."""
        return cls(
            settings.token.get_secret_value(),
            settings.token_file,
            settings.ca_file,
            settings.cert_file,
            settings.key_file,
            settings.insecure,
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes with each call."""
        token = self.token_file.read_text().strip() if self.token_file else self.token
        return ((AUTHORIZATION_METADATA, f"{BEARER}{token}"),) if token else ()


def open_channel(
    address: str, credentials: Credentials, options: Sequence[tuple[str, int]] = ()
) -> grpc.aio.Channel:
    """A channel: TLS beyond this machine, unless the credentials say that it need not be."""
    wants_tls = credentials.ca_file or credentials.cert_file
    if credentials.insecure and wants_tls:
        raise InvalidInput("insecure and certificates exclude each other", field="insecure")
    if credentials.insecure or (is_local(address) and not wants_tls):
        return grpc.aio.insecure_channel(address, options=options)
    ca, key, cert = (
        path.read_bytes() if path else None
        for path in (credentials.ca_file, credentials.key_file, credentials.cert_file)
    )
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), options=options)
