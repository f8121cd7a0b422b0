"""OIDC tokens: one good one, every way to be bad, and keys that change."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from anygpt.access import Scope
from anygpt.errors import InvalidInput, Unauthenticated, Unavailable
from anygpt.tokens import FRESH_S, KEPT_S, PAUSE_S, KeyUrl, TokenVerifier
from tests.unit.access.issuer import Issuer, published, settings

HOUR_S = 3600
BAD_CLAIMS: list[tuple[str, dict[str, Any], str]] = [
    ("expired", {"exp": int(time.time()) - HOUR_S}, "CREDENTIAL_EXPIRED"),
    ("without an end", {"exp": None}, "CREDENTIAL_INVALID"),
    ("not yet good", {"nbf": int(time.time()) + HOUR_S}, "CREDENTIAL_INVALID"),
    ("of another issuer", {"iss": "https://evil.example.com/"}, "CREDENTIAL_INVALID"),
    ("without an issuer", {"iss": None}, "CREDENTIAL_INVALID"),
    ("for another audience", {"aud": "billing"}, "CREDENTIAL_INVALID"),
    ("without an audience", {"aud": None}, "CREDENTIAL_INVALID"),
    ("without a subject", {"sub": None}, "CREDENTIAL_INVALID"),
    ("without a tenant", {"tenant": None}, "CREDENTIAL_INVALID"),
    ("of every tenant", {"tenant": "*"}, "CREDENTIAL_INVALID"),
    ("of a tenant that is a path", {"tenant": "../acme"}, "CREDENTIAL_INVALID"),
    ("of a tenant that is a list", {"tenant": ["acme"]}, "CREDENTIAL_INVALID"),
]


@pytest.fixture(scope="module")
def first() -> Issuer:
    return Issuer()


@pytest.fixture
def file(first: Issuer, tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_text(first.jwks)
    return path


def _base64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def publish(file: Path, issuer: Issuer) -> None:
    """Replace what the file says."""
    file.write_text(issuer.jwks)


async def refused(file: Path, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await TokenVerifier(settings(str(file))).verify(token)
    return caught.value.reason


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, {Scope.GENERATE, Scope.MEDIA}),
        ({"scope": None, "scp": ["jobs", "other"]}, {Scope.JOBS}),
        ({"scope": "openid"}, set()),
        ({"scope": "generates"}, set()),
        ({"scope": ["generate", {"media": True}]}, {Scope.GENERATE}),
        ({"scope": {"generate": True}}, set()),
        ({"scope": 7}, set()),
        ({"aud": ["other", "anygpt"]}, {Scope.GENERATE, Scope.MEDIA}),
    ],
)
async def test_a_good_token_tells_tenant_and_scopes(
    first: Issuer, file: Path, claims: dict[str, Any], scopes: set[Scope]
) -> None:
    caller = await TokenVerifier(settings(str(file))).verify(first.token(**claims))
    assert caller is not None
    assert (caller.name, caller.tenant, set(caller.scopes)) == ("subject alice", "acme", scopes)


@pytest.mark.parametrize(("what", "claims", "reason"), BAD_CLAIMS, ids=[case[0] for case in BAD_CLAIMS])
async def test_a_token_with_bad_claims_is_refused(
    first: Issuer, file: Path, what: str, claims: dict[str, Any], reason: str
) -> None:
    assert await refused(file, first.token(**claims)) == reason, what


async def test_a_token_that_nobody_signed_is_refused(first: Issuer, file: Path) -> None:
    unsigned = jwt.encode(first.claims(), "", "none", {"kid": first.key_id})
    assert await refused(file, unsigned) == "CREDENTIAL_INVALID"


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(first: Issuer, file: Path) -> None:
    public = first.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"alg": "HS256", "typ": "JWT", "kid": first.key_id}
    body = b".".join(_base64(json.dumps(part).encode()) for part in (header, first.claims()))
    confused = body + b"." + _base64(hmac.digest(public, body, "sha256"))
    assert await refused(file, confused.decode()) == "CREDENTIAL_INVALID"


async def test_a_token_of_another_key_under_a_known_name_is_refused(first: Issuer, file: Path) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forged = jwt.encode(first.claims(), other, "RS256", {"kid": first.key_id})
    assert await refused(file, forged) == "CREDENTIAL_INVALID"


@pytest.mark.parametrize("headers", [{"kid": "unknown"}, {}])
async def test_a_token_of_an_unknown_key_is_refused(
    first: Issuer, file: Path, headers: dict[str, str]
) -> None:
    token = jwt.encode(first.claims(), first.private, "RS256", headers)
    assert await refused(file, token) == "CREDENTIAL_INVALID"


@pytest.mark.parametrize("token", ["a.b.c", "..", "e30.e30.e30", "\x00.\x00.\x00"])
async def test_rubbish_is_refused(file: Path, token: str) -> None:
    assert await refused(file, token) == "CREDENTIAL_INVALID"


async def test_another_kind_of_credential_is_left_to_others(file: Path) -> None:
    assert await TokenVerifier(settings(str(file))).verify("anygpt_1_2") is None


async def test_a_file_with_new_keys_counts_at_once(file: Path) -> None:
    issuer = Issuer()
    publish(file, issuer)
    verifier, old = TokenVerifier(settings(str(file))), issuer.token()
    assert await verifier.verify(old)
    issuer.rotate()
    publish(file, issuer)
    assert await verifier.verify(issuer.token())
    with pytest.raises(Unauthenticated):
        await verifier.verify(old)


async def test_new_keys_come_from_the_url_without_hammering_it() -> None:
    issuer, now = Issuer(), [0.0]
    with published(issuer) as (url, asked):
        keys = KeyUrl(url, lambda: now[0])
        assert await keys.find("first")
        for number in range(50):
            assert await keys.find(f"unknown {number}") is None
        assert len(asked) == 1
        issuer.rotate()
        now[0] += PAUSE_S + 1
        assert await keys.find("second")
        assert await keys.find("first") is None
        assert len(asked) == 2


async def test_withdrawn_keys_are_forgotten_and_a_silent_issuer_is_borne_for_a_while() -> None:
    issuer, now = Issuer(), [0.0]
    with published(issuer) as (url, _):
        keys = KeyUrl(url, lambda: now[0])
        assert await keys.find("first")
        issuer.rotate()
        now[0] += FRESH_S + 1
        assert await keys.find("first") is None
        assert await keys.find("second")
    now[0] += FRESH_S + 1
    assert await keys.find("second")
    now[0] += KEPT_S
    with pytest.raises(Unavailable):
        await keys.find("second")


async def test_a_token_is_checked_by_keys_from_a_url() -> None:
    issuer = Issuer()
    with published(issuer) as (url, _):
        assert await TokenVerifier(settings(url)).verify(issuer.token())


@pytest.mark.parametrize(
    "url", ["http://login.example.com/keys", "file:///etc/passwd", "ftp://127.0.0.1/keys"]
)
def test_keys_come_by_https(url: str) -> None:
    with pytest.raises(InvalidInput):
        TokenVerifier(settings(url))


def test_an_issuer_without_audience_is_no_setting() -> None:
    with pytest.raises(ValueError, match="audience"):
        settings("").model_validate({"issuer": "https://login.example.com/", "jwks": "keys.json"})
