"""Which URLs may be fetched: by one grammar that leaves nothing to interpret, by origin, and by address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from anygpt.errors import InvalidInput, Unserved

URL_BYTES: Final = 2048
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])"
_URL: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_HOST})(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    r"(?P<path>/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(?P<query>\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?"
)
"""Names only, of two labels or more, the last no number: no address in any spelling, no user, no fragment."""
_ORIGIN: Final = re.compile(
    rf"(?P<scheme>https?)://(?P<wild>\*\.)?(?P<host>{_HOST})(?::(?P<port>[1-9][0-9]{{0,4}}))?"
)
_PORTS: Final = {"http": 80, "https": 443}
_UNICAST: Final = ip_network("2000::/3")
_SPECIAL: Final = tuple(
    ip_network(block)
    for block in (
        "168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "2001::/23", "2002::/16", "3fff::/20",
    )
)  # fmt: skip
"""Global by number, but: a cloud's host agent, protocol assignments, documentation, and relays to other addresses."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL in its parts."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_secure(self) -> bool:
        """Whether it is spoken to by TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The Host header."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"


class UrlRules:
    """The grammar and the allowed origins. Raises InvalidInput for an origin that is none."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = [_origin(text) for text in origins]

    def read(self, url: str, field: str) -> Target:
        """Raises Unserved, or InvalidInput with URL_MALFORMED or URL_FORBIDDEN."""
        if not self._origins:
            raise Unserved("media by URL is not served here", reason="URL_UNSERVED", field=field)
        found = _URL.fullmatch(_lowered(url)) if len(url) <= URL_BYTES else None
        port = int(found["port"] or _PORTS[found["scheme"]]) if found else 0
        if found is None or not 0 < port < 1 << 16 or len(found["host"]) > 253:
            raise InvalidInput("this is no URL of a public file", reason="URL_MALFORMED", field=field)
        target = Target(found["scheme"], found["host"], port, (found["path"] or "/") + (found["query"] or ""))
        if not any(self._allows(origin, target) for origin in self._origins):
            raise forbidden(field)
        return target

    @staticmethod
    def _allows(origin: tuple[str, str, int, bool], target: Target) -> bool:
        scheme, host, port, is_wild = origin
        fits = target.host.endswith("." + host) if is_wild else target.host == host
        return fits and (target.scheme, target.port) == (scheme, port)


def check_public(addresses: Sequence[str], field: str) -> None:
    """Raise InvalidInput unless there are addresses and all of them are public."""
    if not addresses or not all(map(is_public, addresses)):
        raise forbidden(field)


def is_public(text: str) -> bool:
    """Whether an address is one of the open Internet: none that is private, local, shared, mapped or tunnelled."""
    try:
        address: IPv4Address | IPv6Address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    return not any(address in block for block in _SPECIAL if block.version == address.version)


def forbidden(field: str) -> InvalidInput:
    """One answer for what is not allowed and for what is not public, so that nobody maps a network with it."""
    return InvalidInput("media is not fetched from there", reason="URL_FORBIDDEN", field=field)


def _lowered(url: str) -> str:
    """Scheme and host in lower case; what follows is left as it is."""
    head, slashes, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{head.lower()}{slashes}{host.lower() if host.isascii() else host}{slash}{path}"


def _origin(text: str) -> tuple[str, str, int, bool]:
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise InvalidInput("an origin is https://host[:port] or https://*.host", field="urls.origins")
    port = int(found["port"] or _PORTS[found["scheme"]])
    return found["scheme"], found["host"], port, bool(found["wild"])
