"""A conversation in the terminal."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
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
    """Hold a conversation: streams text, saves media, takes /image FILE, /speech FILE, /new, /quit.

    Ctrl-C stops an answer; at the prompt it ends the chat.
    """
    print(HELP)
    with asyncio.Runner() as runner:
        talk = runner.run(_begun(address, tenant, out))
        try:
            while (line := _read()) is not None and line.strip() != "/quit":
                with suppress(KeyboardInterrupt):
                    runner.run(talk.hear(line))
        finally:
            runner.run(talk.client.close())


@dataclass
class Talk:
    """A conversation under way, and the media that go with the next message."""

    client: AsyncClient
    out: Path
    conversation: str = ""
    pieces: list[Piece] = field(default_factory=list)

    async def hear(self, line: str) -> None:
        """Do what a line says; what is wrong with it is told."""
        from anygpt.errors import AnyGPTError

        try:
            await self._do(line)
        except AnyGPTError as error:
            print(f"{error.reason}: {error.message}")

    async def _do(self, line: str) -> None:
        command, _, rest = line.strip().partition(" ")
        if command == "/new":
            self.conversation, self.pieces = await self.client.new_conversation(), []
        elif command.startswith("/") and command.removeprefix("/") in PARTS:
            self.pieces.append(piece_of(command.removeprefix("/"), rest.strip()))
        elif command.startswith("/"):
            print(HELP)
        elif command or self.pieces:
            await self._say([*self.pieces, *([line] if command else [])])

    async def _say(self, pieces: list[Piece]) -> None:
        from rich.console import Console

        from anygpt.client import Options

        self.pieces = []
        events = self.client.events(*pieces, options=Options(conversation_id=self.conversation))
        await show(self.client, events, self.out, Console())


async def _begun(address: str, tenant: str, out: Path) -> Talk:
    from anygpt.client import AsyncClient

    client = AsyncClient(address, tenant, credentials())
    return Talk(client, out, await client.new_conversation())


def _read() -> str | None:
    try:
        return input("> ")
    except (EOFError, KeyboardInterrupt):
        print()
        return None
