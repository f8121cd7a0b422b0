"""OIDC tokens: JWTs of one issuer, checked with the keys it publishes. The only importer of PyJWT."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt

from anygpt.access import Caller, Scope
from anygpt.errors import InvalidInput, Unauthenticated, Unavailable
from anygpt.identity import check_tenant
from anygpt.reloaded import Reloaded
from anygpt.settings import MIB, OidcSettings
from anygpt.tls import is_local

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Asymmetric ones alone: whoever can check a token cannot make one."""
LEEWAY_S = 30
FRESH_S = 300.0
"""How long the issuer's keys are used before it is asked again."""
KEPT_S = 3600.0
"""How long they are used when the issuer does not answer."""
PAUSE_S = 10.0
"""Tokens with unknown keys make the issuer be asked no more often than this."""
FETCH_S = 5.0

PublicKeys = Mapping[str, jwt.PyJWK]


class KeyFile:
    """The issuer's keys from a JWKS file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._keys = Reloaded([path], lambda: _parse(path.read_bytes()))

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id."""
        return self._keys.get().get(key_id)


class KeyUrl:
    """The issuer's keys from its JWKS URL, kept for some minutes; an unknown id makes it look again."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and is_local(parts.netloc)):
            raise InvalidInput("keys come by https", field="access.oidc.jwks")
        self._url = url
        self._keys: PublicKeys = {}
        self._asked_at = self._told_at = float("-inf")
        self._clock = clock
        self._lock = asyncio.Lock()

    async def find(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id. Raises Unavailable when the issuer cannot be asked."""
        async with self._lock:
            now = self._clock()
            is_wanted = key_id not in self._keys or now - self._told_at > FRESH_S
            if is_wanted and now - self._asked_at > PAUSE_S:
                self._asked_at = now
                await self._ask()
            if self._clock() - self._told_at > KEPT_S:
                raise Unavailable("the issuer's keys cannot be read", retry_after_ms=int(PAUSE_S * 1000))
            return self._keys.get(key_id)

    async def _ask(self) -> None:
        try:
            self._keys = _parse(await asyncio.to_thread(_fetch, self._url))
        except (OSError, ValueError):
            return
        self._told_at = self._clock()


class TokenVerifier:
    """Knows the tokens of one issuer: signature, issuer, audience, times, then tenant and scopes."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        is_url = "://" in settings.jwks
        self._keys: KeyFile | KeyUrl = KeyUrl(settings.jwks) if is_url else KeyFile(Path(settings.jwks))

    async def verify(self, token: str) -> Caller | None:
        """See Verifier."""
        if token.count(".") != 2:
            return None
        try:
            claims = await self._claims(token)
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired", reason="CREDENTIAL_EXPIRED") from None
        except jwt.PyJWTError as error:
            told = f"the token is not good ({type(error).__name__})"
            raise Unauthenticated(told, reason="CREDENTIAL_INVALID") from None
        return Caller(f"subject {claims['sub']}", self._tenant(claims), _scopes(claims))

    async def _claims(self, token: str) -> dict[str, Any]:
        key = await self._keys.find(str(jwt.get_unverified_header(token).get("kid", "")))
        if key is None:
            raise jwt.InvalidKeyError("unknown key")
        return jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=self._settings.audience,
            issuer=self._settings.issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud", "sub"]},
        )

    def _tenant(self, claims: Mapping[str, Any]) -> str:
        claim = self._settings.tenant_claim
        try:
            return check_tenant(str(claims.get(claim, "")))
        except InvalidInput:
            raise Unauthenticated(f"claim {claim} names no tenant", reason="CREDENTIAL_INVALID") from None


def _scopes(claims: Mapping[str, Any]) -> frozenset[Scope]:
    """The scopes that we know, of `scope` (words, RFC 8693) or `scp` (words or a list); of anything else none."""
    told = claims.get("scope") or claims.get("scp") or ""
    words = told.split() if isinstance(told, str) else told if isinstance(told, list) else ()
    return frozenset(scope for scope in Scope if scope in words)


def _parse(raw: bytes) -> PublicKeys:
    try:
        found = jwt.PyJWKSet.from_json(raw.decode()).keys
    except jwt.PyJWTError as error:
        raise ValueError("these are no JSON web keys") from error
    return {key.key_id: key for key in found if key.key_id}


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=FETCH_S) as response:
        return bytes(response.read(MIB))
