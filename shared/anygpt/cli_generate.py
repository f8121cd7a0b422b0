"""The command for one turn, and what it shares with the chat: an answer printed while it streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from anygpt.cli_media import GATEWAY, Address, Tenant, credentials
from anygpt.cli_screen import Screen

if TYPE_CHECKING:
    from rich.console import Console

    from anygpt.answer import Answer, Event
    from anygpt.client import AsyncClient, Options, Piece

PARTS = ("text", "image", "video", "speech", "audio")
EXTENSIONS = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "video/mp4": "mp4", "video/webm": "webm",
    "video/x-matroska": "webm", "image/gif": "gif", "audio/wav": "wav", "audio/flac": "flac", "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
}  # fmt: skip
Many = list[str] | None


class PartsCommand(TyperCommand):
    """A command that knows in which order its part options were given."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note the parts before the options are sorted by name."""
        found: list[tuple[str, str]] = []
        for i, word in enumerate(args):
            name, is_joined, value = word.removeprefix("--").partition("=")
            if word.startswith("--") and name in PARTS:
                found.append((name, value if is_joined else args[i + 1] if i + 1 < len(args) else ""))
        ctx.meta["parts"] = found
        return super().parse_args(ctx, args)


def generate(
    ctx: typer.Context,
    text: Annotated[Many, typer.Option(help="A text part.")] = None,
    image: Annotated[Many, typer.Option(help="An image file.")] = None,
    video: Annotated[Many, typer.Option(help="A video file.")] = None,
    speech: Annotated[Many, typer.Option(help="A file of spoken words.")] = None,
    audio: Annotated[Many, typer.Option(help="A file of music or sound.")] = None,
    want: Annotated[
        str, typer.Option(help="Modalities of the answer, e.g. image,speech; empty: its own choice.")
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder for the media of the answer.")] = Path(),
    conversation: Annotated[str, typer.Option(help="Conversation id; `new` opens one.")] = "",
    system: Annotated[str, typer.Option(help="Instruction before the conversation.")] = "",
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**64 - 1, help="Same request, same seed, same answer.")
    ] = None,
    voice: Annotated[str, typer.Option(help="Voice of spoken answers.")] = "",
    formats: Annotated[str, typer.Option("--format", help="E.g. image=jpeg,speech=mp3.")] = "",
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds; the request's deadline.")] = None,
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Send one message, with its parts in the order given, and print the answer as it comes.

    Example: anygpt generate --text "What is this?" --image cat.png --want text,speech --out answer
    """
    from anygpt.client import Options

    options = Options(
        want=[name for name in want.split(",") if name], conversation_id=conversation, system=system, seed=seed,
        voice=voice, output=_output(formats), timeout_s=timeout,
    )  # fmt: skip
    asyncio.run(_generate(ctx.meta["parts"], options, out, (address, tenant)))


async def _generate(
    parts: list[tuple[str, str]], options: Options, out: Path, where: tuple[str, str]
) -> None:
    import dataclasses

    from rich.console import Console

    from anygpt.client import AsyncClient

    async with AsyncClient(*where, credentials()) as client:
        if options.conversation_id == "new":
            options = dataclasses.replace(options, conversation_id=await client.new_conversation())
            print(f"conversation {options.conversation_id}")
        pieces = [piece_of(name, value) for name, value in parts]
        await show(client, client.events(*pieces, options=options), out, Console())


def piece_of(name: str, value: str) -> Piece:
    """A part option as the client takes it. Raises InvalidInput for a file that is not there."""
    from anygpt.client import Media
    from anygpt.errors import InvalidInput

    if name == "text":
        return value
    path = Path(value)
    if not path.is_file():
        raise InvalidInput(f"there is no file {value}", field=f"--{name}")
    return Media(path, name)


async def show(client: AsyncClient, events: AsyncIterator[Event], out: Path, console: Console) -> Answer:
    """Print events as they come: text at once, progress as bars, media as files below `out`.

    Whoever stops watching cancels the request.
    """
    from anygpt.answer import Answer

    answer = Answer()
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    with Screen(console) as screen:
        try:
            async for event in events:
                answer.add(event)
                await _show(screen, client, event, out)
        except asyncio.CancelledError:
            if answer.request_id:
                await client.cancel(answer.request_id)
            raise
    return answer


async def _show(screen: Screen, client: AsyncClient, event: Event, out: Path) -> None:
    kind = event.WhichOneof("kind")
    if kind == "text_delta":
        screen.text(event.text_delta.text)
    elif kind == "progress":
        screen.progress(event.span_index, event.progress)
    elif kind == "media_ready":
        screen.line(f"[{await save(client, event, out)}]")
    elif kind == "span_failed":
        failure = event.span_failed.failure
        screen.line(f"[{failure.reason}: {failure.message}]")
    elif kind == "restarted":
        screen.line("[what was said last is void: it begins again]")
    if kind in ("span_finished", "span_failed"):
        screen.finish(event.span_index)


async def save(client: AsyncClient, event: Event, out: Path) -> Path:
    """Fetch the media of an event into a file named by its request and span."""
    media = event.media_ready.media
    extension = EXTENSIONS.get(media.media_type, "bin")
    path = out / f"{event.request_id[:12]}-{event.span_index}.{extension}"
    data = await client.download(media.object)
    await asyncio.to_thread(path.write_bytes, data)
    return path


def _output(formats: str) -> list[Any]:
    from anygpt import topology
    from anygpt.errors import InvalidInput
    from anygpt.v1 import types_pb2

    options = []
    for entry in filter(None, formats.split(",")):
        name, _, form = entry.partition("=")
        if name not in topology.MODALITIES or not form:
            raise InvalidInput("a format is MODALITY=FORMAT, e.g. image=jpeg", field="--format")
        options.append(types_pb2.OutputOptions(modality=topology.MODALITIES[name], format=form))
    return options
