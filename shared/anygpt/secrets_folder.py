"""The secrets of an installation, drawn once: for each service a folder of files, each named as its setting."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from anygpt import topology
from anygpt.access import ANY_TENANT, DEFAULT_TENANT, Scope
from anygpt.errors import Conflict
from anygpt.grants import ACCOUNTS
from anygpt.keys import Keys, new_key, write_keys
from anygpt.seals import Seals

ADMIN = "admin"
KEYS_FILE = "keys.json"


def write_secrets(folder: Path) -> None:
    """Write passwords, seal keys, store keys and the first API keys. Raises Conflict for a folder that exists."""
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        raise Conflict(f"{folder} is there already: what it holds is in use", field="folder") from None
    passwords = {account: secrets.token_urlsafe(24) for account in ACCOUNTS}
    store = {"ANYGPT_S3__ACCESS_KEY": "anygpt", "ANYGPT_S3__SECRET_KEY": secrets.token_urlsafe(24)}
    seals = Seals(secrets.token_urlsafe(32))
    for account, password in passwords.items():
        bus = {"ANYGPT_KAFKA__USERNAME": account, "ANYGPT_KAFKA__PASSWORD": password}
        _write(folder / account, {**bus, **store, **_seal_key(seals, account)})
    _write_servers(folder, passwords, store)
    _write_keys(folder)


def _seal_key(seals: Seals, account: str) -> Mapping[str, str]:
    key = seals.master if account == topology.GATEWAY else seals.key_of(account)
    return {"ANYGPT_SEAL_KEY": key or ""} if account in (topology.GATEWAY, *topology.STAGES) else {}


def _write_servers(folder: Path, passwords: Mapping[str, str], store: Mapping[str, str]) -> None:
    admin = secrets.token_urlsafe(24)
    accounts = {f"ANYGPT_KAFKA__ACCOUNTS__{name.upper()}": text for name, text in passwords.items()}
    bus = {
        "ANYGPT_KAFKA__USERNAME": ADMIN,
        "ANYGPT_KAFKA__PASSWORD": admin,
        "ANYGPT_KAFKA__SASL_MECHANISM": "PLAIN",
    }
    _write(folder / "init", {**bus, **accounts, **store})
    _write(folder / "kafka", {ADMIN: admin})
    _write(
        folder / "minio", {"user": store["ANYGPT_S3__ACCESS_KEY"], "password": store["ANYGPT_S3__SECRET_KEY"]}
    )


def _write_keys(folder: Path) -> None:
    every = frozenset(Scope)
    client, first = new_key(DEFAULT_TENANT, every - {Scope.ADMIN}, "the first client")
    worker, second = new_key(ANY_TENANT, frozenset({Scope.GENERATE, Scope.MEDIA}), "batch workers")
    _write(folder / "client", {"token": client})
    _write(folder / topology.BATCH, {"ANYGPT_CLIENT__TOKEN": worker})
    for service in topology.SERVICES:
        write_keys(folder / service / KEYS_FILE, Keys(keys=(first, second)))
        (folder / service / KEYS_FILE).chmod(0o644)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Readable by the containers' own user; the folder above is its owner's alone."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
