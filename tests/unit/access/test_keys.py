"""API keys: what the file keeps, what is taken for good, and how soon a change counts."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from anygpt.access import ANY_TENANT, Scope
from anygpt.errors import InvalidInput, NotFound, Unauthenticated
from anygpt.keys import Key, Keys, KeyVerifier, OwnKey, new_key, read_keys, without, write_keys

MEDIA = frozenset({Scope.MEDIA})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def made(file: Path, *changes: dict[str, object], tenant: str = "acme") -> str:
    """A key whose entry, with changes, is all that the file holds."""
    token, entry = new_key(tenant, MEDIA)
    write_keys(file, Keys(keys=(entry.model_copy(update={k: v for c in changes for k, v in c.items()}),)))
    return token


async def refused(file: Path, token: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        await KeyVerifier(file).verify(token)
    assert token not in caught.value.message
    return caught.value.reason


async def test_a_key_is_known_by_its_digest(file: Path) -> None:
    token = made(file)
    caller = await KeyVerifier(file).verify(token)
    assert caller is not None
    assert (caller.tenant, caller.scopes) == ("acme", MEDIA)


def test_the_file_holds_no_key_and_is_its_owners_alone(file: Path) -> None:
    token = made(file)
    secret = token.rpartition("_")[2]
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("change", ["x", "", "_"])
async def test_a_key_that_is_almost_right_is_not_good(file: Path, change: str) -> None:
    token = made(file)
    wrong = token + change if change else token[:-1]
    assert await refused(file, wrong) == "CREDENTIAL_INVALID"


async def test_an_unknown_key_is_not_good(file: Path) -> None:
    made(file)
    stranger, _ = new_key("acme", MEDIA)
    assert await refused(file, stranger) == "CREDENTIAL_INVALID"


async def test_an_expired_key_says_so(file: Path) -> None:
    token = made(file, {"expires_ms": 1})
    assert await refused(file, token) == "CREDENTIAL_EXPIRED"


async def test_another_kind_of_credential_is_left_to_others(file: Path) -> None:
    made(file)
    assert await KeyVerifier(file).verify("a.b.c") is None


async def test_a_revoked_key_ends_at_once_and_a_broken_file_changes_nothing(file: Path) -> None:
    token, second = made(file), new_key("acme", MEDIA)
    verifier = KeyVerifier(file)
    write_keys(file, Keys(keys=(*read_keys(file).keys, second[1])))
    assert await verifier.verify(second[0])
    write_keys(file, without(read_keys(file), second[1].key_id))
    with pytest.raises(Unauthenticated):
        await verifier.verify(second[0])
    await asyncio.to_thread(file.write_text, '{"keys": [')
    assert await verifier.verify(token)


async def test_the_key_of_a_process_is_its_own(file: Path) -> None:
    own = OwnKey("chance")
    caller = await own.verify("chance")
    assert caller is not None
    assert caller.tenant == ANY_TENANT
    assert await own.verify("chances") is None
    assert await own.verify("ünicode") is None


def test_a_key_needs_a_tenant_and_a_scope() -> None:
    for tenant, scopes in (("Not A Tenant", MEDIA), ("acme", frozenset[Scope]())):
        with pytest.raises(InvalidInput):
            new_key(tenant, scopes)


def test_a_key_that_is_not_there_cannot_be_revoked() -> None:
    with pytest.raises(NotFound):
        without(Keys(), "0123")


def test_two_keys_have_nothing_in_common() -> None:
    entries: list[Key] = [new_key("acme", MEDIA)[1] for _ in range(100)]
    assert len({entry.key_id for entry in entries}) == len({entry.sha256 for entry in entries}) == 100


async def test_the_command_line_makes_lists_and_revokes_keys(file: Path) -> None:
    def anygpt(*words: str) -> str:
        command = [sys.executable, "-m", "anygpt", "key", *words, "--file", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    token = anygpt("create", "--tenant", "acme", "--scope", "media", "--scope", "jobs", "--days", "3").strip()
    caller = await KeyVerifier(file).verify(token)
    assert caller is not None
    assert caller.scopes == {Scope.MEDIA, Scope.JOBS}
    [entry] = read_keys(file).keys
    listed = anygpt("list")
    assert entry.key_id in listed
    assert "acme" in listed
    assert token not in listed
    anygpt("revoke", entry.key_id)
    assert read_keys(file).keys == ()
