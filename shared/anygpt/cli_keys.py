"""Credentials on the command line: those that a command uses, and the keys that an installation gives out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anygpt.cli_media import CREDENTIALS

if TYPE_CHECKING:
    from anygpt.access import Scope

keys = typer.Typer(name="key", help="API keys: made, listed and revoked in the file that the services read.")
File = Annotated[Path, typer.Option(envvar="ANYGPT_ACCESS__KEYS_FILE", help="File of the keys' digests.")]


def credential_options(
    token_file: Annotated[
        Path | None, typer.Option(help="File with an API key or a token; or set ANYGPT_CLIENT__TOKEN.")
    ] = None,
    ca_file: Annotated[Path | None, typer.Option(help="Authorities of the gateway's certificate.")] = None,
    cert_file: Annotated[Path | None, typer.Option(help="The client's own certificate.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Its key.")] = None,
    insecure: Annotated[bool | None, typer.Option("--insecure", help="Without TLS beyond loopback.")] = None,
) -> None:
    """Options of every command that calls a gateway; also ANYGPT_CLIENT__CA_FILE and so on."""
    given = {
        "token_file": token_file, "ca_file": ca_file, "cert_file": cert_file, "key_file": key_file,
        "insecure": insecure,
    }  # fmt: skip
    CREDENTIALS.set({name: value for name, value in given.items() if value is not None})


@keys.command()
def create(
    tenant: Annotated[str, typer.Option(help="Whose key it is; `*` for services, which name the tenant.")],
    scope: Annotated[list[str], typer.Option(help="generate, media, jobs or admin; may be repeated.")],
    file: File = Path("keys.json"),
    days: Annotated[int, typer.Option(min=0, help="Life; 0: until it is revoked.")] = 0,
    note: Annotated[str, typer.Option(help="For whom it is.")] = "",
) -> None:
    """Make a key and print it: this once, for the file keeps its digest alone."""
    from anygpt.keys import Keys, new_key, read_keys, write_keys

    token, entry = new_key(tenant, _scopes(scope), note, days)
    known = read_keys(file).keys if file.exists() else ()
    write_keys(file, Keys(keys=(*known, entry)))
    print(token)


@keys.command("list")
def show(file: File = Path("keys.json")) -> None:
    """Tell of every key all but the key."""
    from datetime import UTC, datetime

    from rich.console import Console
    from rich.table import Table

    from anygpt.keys import read_keys

    table = Table("key", "tenant", "scopes", "made", "ends", "note")
    for key in read_keys(file).keys:
        made, ends = (
            datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d") if ms else "-"
            for ms in (key.created_ms, key.expires_ms)
        )
        table.add_row(key.key_id, key.tenant, " ".join(sorted(key.scopes)), made, ends, key.note)
    Console().print(table)


@keys.command()
def revoke(key_id: str, file: File = Path("keys.json")) -> None:
    """End a key: services refuse it as soon as they see the file changed."""
    from anygpt.keys import read_keys, without, write_keys

    write_keys(file, without(read_keys(file), key_id))


def secrets(folder: Annotated[Path, typer.Argument(help="Folder to make.")] = Path("secrets")) -> None:
    """Draw the secrets of an installation: passwords, seal keys and first API keys, a folder for each service."""
    from anygpt.secrets_folder import write_secrets

    write_secrets(folder)
    print(f"{folder}/client/token is the first API key; hand out others with `anygpt key create`")


def _scopes(names: list[str]) -> frozenset[Scope]:
    from anygpt.access import Scope
    from anygpt.errors import InvalidInput

    try:
        return frozenset(Scope(name) for name in names)
    except ValueError:
        raise InvalidInput(f"the scopes are {', '.join(Scope)}", field="scope") from None
