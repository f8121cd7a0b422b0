"""The demo: starts the whole system in one process and holds a conversation of all five modalities with it."""

from __future__ import annotations

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from anygpt.answer import Answer, Event
from anygpt.cli_generate import EXTENSIONS, show
from anygpt.client import AsyncClient, Options, Piece, image, speech
from anygpt.demo_page import Shown, write_page
from anygpt.embedded import embedded
from anygpt.pack import packs_folder

SAMPLES = "samples"
SCENE = "Draw a large dog at the left and a small bell at the right on a blue background."
PIECES = frozenset({"text_delta", "media_chunk", "media_ready"})


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the demo."""

    title: str
    pieces: tuple[Piece, ...]
    want: tuple[str, ...] = ()
    follows: bool = False
    """In the conversation of the turn before."""


@dataclass(slots=True)
class _Clock:
    """Marks of one turn, in seconds from its start."""

    started: float = field(default_factory=time.perf_counter)
    first: float = 0.0
    """When there was something to read, to hear or to see."""

    async def watched(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Pass events on, noting when the first piece of the answer came."""
        async for event in events:
            if event.WhichOneof("kind") in PIECES and not self.first:
                self.first = self.passed
            yield event

    @property
    def passed(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started


def turns(samples: Path) -> list[Turn]:
    """The conversation."""
    return [
        Turn("text to text and image", ("Draw a cat on a blue background.",), ("text", "image")),
        Turn("text to a scene of two things", (SCENE,), ("text", "image")),
        Turn("a question about it", ("What is at the right?",), ("text",), follows=True),
        Turn(
            "a spoken instruction to text and music",
            (speech(samples / "instruction.wav"),),
            ("text", "audio"),
        ),
        Turn(
            "an image to its emotion as music",
            (image(samples / "face.png"), "Make music of its mood."),
            ("text", "audio"),
        ),
        Turn("text to video", ("Make a video of a rocket rising.",), ("text", "video")),
        Turn("image to text", (image(samples / "picture.png"), "What is in this picture?"), ("text",)),
        Turn("a follow-up about the turn before", ("Now say that aloud.",), ("speech",), follows=True),
    ]


def run_demo(out: str, data: str) -> None:
    """Run the demo and write its media and page below `out`."""
    console = Console()
    began = time.perf_counter()
    with ExitStack() as stack:
        temporary = stack.enter_context(tempfile.TemporaryDirectory(prefix="anygpt-demo-"))
        with console.status("the system loads its models; the first time takes longest"):
            address = stack.enter_context(embedded(Path(data or temporary)))
        console.print(f"the system is ready after {time.perf_counter() - began:.1f} s")
        shown = asyncio.run(_converse(address, Path(out), console))
    page = write_page(Path(out), shown)
    console.print(f"all in {time.perf_counter() - began:.1f} s; see {page}")


async def _converse(address: str, out: Path, console: Console) -> list[Shown]:
    samples = packs_folder() / "mini" / SAMPLES
    shown: list[Shown] = []
    async with AsyncClient(address) as client:
        conversation = ""
        for turn in turns(samples):
            if not turn.follows:
                conversation = await client.new_conversation()
            console.rule(turn.title)
            _print_message(turn, console)
            clock = _Clock()
            options = Options(want=turn.want, conversation_id=conversation, seed=7)
            answer = await show(
                client, clock.watched(client.events(*turn.pieces, options=options)), out, console
            )
            times = f"first piece after {clock.first:.2f} s, all after {clock.passed:.2f} s"
            console.print(times, style="dim", highlight=False)
            shown.append(await _shown(turn, answer, clock, out))
    return shown


def _print_message(turn: Turn, console: Console) -> None:
    for piece in turn.pieces:
        text = piece if isinstance(piece, str) else f"[{_file_of(piece).name}]"
        console.print(f"> {text}", style="bold", markup=False)


async def _shown(turn: Turn, answer: Answer, clock: _Clock, out: Path) -> Shown:
    asked: list[tuple[str, str]] = []
    for piece in turn.pieces:
        if isinstance(piece, str):
            asked.append(("text", piece))
        else:
            source = _file_of(piece)
            await asyncio.to_thread(
                (out / source.name).write_bytes, await asyncio.to_thread(source.read_bytes)
            )
            asked.append((str(getattr(piece, "modality", "")), source.name))
    said: list[tuple[str, str]] = []
    for index, span in sorted(answer.spans.items()):
        if span.media is not None:
            extension = EXTENSIONS.get(span.media.media_type, "bin")
            said.append((span.modality, f"{answer.request_id[:12]}-{index}.{extension}"))
        else:
            said.append(("text", span.text))
    return Shown(turn.title, asked, said, clock.first, clock.passed)


def _file_of(piece: object) -> Path:
    fields = dataclasses.asdict(piece)  # type: ignore[call-overload]
    return Path(fields["source"])
