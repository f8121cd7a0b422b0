"""Commands that look at an installation and move media."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from anygpt.credentials import Credentials

Address = Annotated[str, typer.Option(envvar="ANYGPT_ADDRESS", help="host:port of the gateway.")]
Tenant = Annotated[str, typer.Option(envvar="ANYGPT_TENANT", help="Whose conversations and media.")]
InFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="A media file.")]
GATEWAY = "127.0.0.1:50051"
CREDENTIALS: ContextVar[dict[str, Any]] = ContextVar("credentials")
"""The options before the command that name credentials."""


def credentials() -> Credentials:
    """Those that the options before the command name, and the environment."""
    from anygpt.credentials import Credentials
    from anygpt.settings import CommandSettings

    given: dict[str, Any] = {"client": CREDENTIALS.get()}
    return Credentials.of(CommandSettings(**given).client)


def describe(address: Address = GATEWAY, tenant: Tenant = "default") -> None:
    """Tell what the installation can do: modalities, limits, pack."""
    from rich.console import Console
    from rich.table import Table

    from anygpt.client import Client
    from anygpt.topology import MODALITY_NAMES

    with Client(address, tenant, credentials()) as client:
        told = client.describe()
    table = Table("modality", "in", "out", "formats", title=f"pack {told.pack}, version {told.version}")
    for entry in told.modalities:
        formats = ", ".join(entry.output_formats)
        table.add_row(
            MODALITY_NAMES[entry.modality], entry.input_path or "-", entry.output_path or "-", formats
        )
    console = Console()
    console.print(table)
    console.print(f"{len(told.pairs)} ordered pairs, voices: {', '.join(told.voices) or 'none'}")
    limits = told.limits
    console.print(
        f"context {limits.context_tokens} tokens, inline {limits.inline_bytes // 1024} KiB, "
        f"media {limits.media_bytes >> 20} MiB, {limits.media_duration_ms // 1000} s"
    )


def upload(
    file: InFile,
    modality: Annotated[str, typer.Option(help="speech or audio; images and videos tell themselves.")] = "",
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Send a media file; prints its object id, for messages and downloads."""
    from anygpt.client import Client, Media

    with Client(address, tenant, credentials()) as client:
        print(client.upload(Media(file, modality or None)).object)


def download(
    object_id: Annotated[str, typer.Argument(help="As an answer or `anygpt upload` told it.")],
    file: Annotated[Path, typer.Argument(help="Where the media go.")],
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Fetch media by its object id into a file."""
    from anygpt.client import Client

    with Client(address, tenant, credentials()) as client:
        file.write_bytes(client.download(object_id))
