"""API keys: a file of digests, one entry a key. A key itself is shown once, when it is made."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from anygpt.access import ANY_TENANT, Caller, Scope
from anygpt.errors import InvalidInput, NotFound, Unauthenticated
from anygpt.identity import check_tenant
from anygpt.reloaded import Reloaded
from anygpt.stage import now_ms

PREFIX = "anygpt_"
SECRET_BYTES = 32
"""Enough chance in a key that a plain digest of it tells nothing."""
DAY_MS = 24 * 3600 * 1000


class Key(BaseModel):
    """One entry of the file: all but the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_id: str
    tenant: str
    scopes: frozenset[Scope]
    sha256: str
    note: str = ""
    created_ms: int
    expires_ms: int = Field(default=0, description="Unix milliseconds; 0: never.")

    @property
    def has_expired(self) -> bool:
        """Whether its time is over."""
        return 0 < self.expires_ms <= now_ms()


class Keys(BaseModel):
    """The file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: tuple[Key, ...] = ()


def new_key(tenant: str, scopes: frozenset[Scope], note: str = "", days: int = 0) -> tuple[str, Key]:
    """A key to hand out, and the entry to keep. Raises InvalidInput."""
    if tenant != ANY_TENANT:
        check_tenant(tenant)
    if not scopes:
        raise InvalidInput("a key has at least one scope", field="scope")
    key_id = secrets.token_hex(6)
    token = f"{PREFIX}{key_id}_{secrets.token_urlsafe(SECRET_BYTES)}"
    expires_ms = now_ms() + days * DAY_MS if days else 0
    entry = Key(
        key_id=key_id, tenant=tenant, scopes=scopes, sha256=_digest(token), note=note,
        created_ms=now_ms(), expires_ms=expires_ms,
    )  # fmt: skip
    return token, entry


def read_keys(path: Path) -> Keys:
    """The keys of a file; ValueError when it is not one."""
    return Keys.model_validate_json(path.read_bytes())


def write_keys(path: Path, keys: Keys) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".keys-", delete=False) as file:
        file.write(keys.model_dump_json(indent=2) + "\n")
    Path(file.name).chmod(0o600)
    Path(file.name).replace(path)


def without(keys: Keys, key_id: str) -> Keys:
    """The keys but one. Raises NotFound."""
    left = tuple(key for key in keys.keys if key.key_id != key_id)
    if len(left) == len(keys.keys):
        raise NotFound(f"there is no key {key_id}", field="key_id")
    return Keys(keys=left)


class KeyVerifier:
    """Knows the keys of a file, which is read again when it changes: a revoked key ends at once."""

    def __init__(self, path: Path) -> None:
        self._entries = Reloaded([path], lambda: {key.key_id: key for key in read_keys(path).keys})

    async def verify(self, token: str) -> Caller | None:
        """See Verifier."""
        if not token.startswith(PREFIX):
            return None
        key_id = token.removeprefix(PREFIX).partition("_")[0]
        key = self._entries.get().get(key_id)
        is_good = hmac.compare_digest(_digest(token), key.sha256 if key else _digest(""))
        if key is None or not is_good:
            raise Unauthenticated("the key is not known", reason="CREDENTIAL_INVALID")
        if key.has_expired:
            raise Unauthenticated("the key has expired", reason="CREDENTIAL_EXPIRED")
        return Caller(f"key {key_id}", key.tenant, key.scopes)


class OwnKey:
    """The key by which the services of one process call one another. It is nowhere but in that process."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def verify(self, token: str) -> Caller | None:
        """See Verifier."""
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            return None
        return Caller("own", ANY_TENANT, frozenset(Scope))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
