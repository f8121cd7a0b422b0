"""A conversation in the terminal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anygpt.cli_generate import PARTS, piece_of, show
from anygpt.cli_media import GATEWAY, Address, Tenant, credentials

if TYPE_CHECKING:
    from anygpt.client import AsyncClient, Piece

HELP = "Type a message. /image FILE, /video FILE, /speech FILE, /audio FILE add media; /new begins anew; /quit ends."


def chat(
    out: Annotated[Path, typer.Option(help="Folder for the media of the answers.")] = Path("out/chat"),
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Hold a conversation: streams text, saves media, takes /image FILE, /speech FILE, /new, /quit."""
    asyncio.run(_chat(out, address, tenant))


async def _chat(out: Path, address: str, tenant: str) -> None:
    from anygpt.client import AsyncClient

    print(HELP)
    async with AsyncClient(address, tenant, credentials()) as client:
        conversation, pieces = await client.new_conversation(), list["Piece"]()
        while (line := await asyncio.to_thread(_read)) is not None:
            command, _, rest = line.partition(" ")
            if command == "/quit":
                return
            if command == "/new":
                conversation, pieces = await client.new_conversation(), []
            elif command.removeprefix("/") in PARTS and command.startswith("/"):
                _add(pieces, command.removeprefix("/"), rest.strip())
            elif command.startswith("/"):
                print(HELP)
            elif line.strip() or pieces:
                await _turn(client, [*pieces, *([line] if line.strip() else [])], conversation, out)
                pieces = []


def _read() -> str | None:
    try:
        return input("> ")
    except EOFError:
        return None


def _add(pieces: list[Piece], name: str, value: str) -> None:
    from anygpt.errors import AnyGPTError

    try:
        pieces.append(piece_of(name, value))
    except AnyGPTError as error:
        print(error.message)


async def _turn(client: AsyncClient, pieces: list[Piece], conversation: str, out: Path) -> None:
    from rich.console import Console

    from anygpt.client import Options
    from anygpt.errors import AnyGPTError

    try:
        events = client.events(*pieces, options=Options(conversation_id=conversation))
        await show(client, events, out, Console())
    except AnyGPTError as error:
        print(f"\n{error.reason}: {error.message}")
