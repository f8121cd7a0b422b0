"""What stands on a terminal after an answer: every word of it, in its place, and no bar that has ended."""

from __future__ import annotations

import io

import pyte
from rich.console import Console

from anygpt.cli_screen import Screen
from anygpt.v1 import anygpt_service_pb2


def work(done: int) -> anygpt_service_pb2.Progress:
    """A decoder's sign of life."""
    return anygpt_service_pb2.Progress(stage="image_decoder", done=done, total=4)


def shown(out: io.StringIO) -> list[str]:
    """The lines that a person sees."""
    screen = pyte.Screen(60, 20)
    pyte.Stream(screen).feed(out.getvalue().replace("\n", "\r\n"))
    return [line.rstrip() for line in screen.display if line.strip()]


def terminal() -> tuple[io.StringIO, Console]:
    """A terminal of 60 columns."""
    out = io.StringIO()
    return out, Console(file=out, force_terminal=True, width=60)


def test_text_that_streams_is_still_there_when_the_picture_is_done() -> None:
    out, console = terminal()
    with Screen(console) as screen:
        for piece in ("Here", " is", " a cat."):
            screen.text(piece)
        screen.finish(0)
        for done in (1, 2, 3, 4):
            screen.progress(1, work(done))
        screen.line("[cat.png]")
        screen.finish(1)
    assert shown(out) == ["Here is a cat.", "[cat.png]"]


def test_progress_waits_until_the_line_of_text_has_ended() -> None:
    out, console = terminal()
    with Screen(console) as screen:
        screen.text("Here is")
        screen.progress(1, work(1))
        screen.text(" a cat")
        assert shown(out) == ["Here is a cat"]
        screen.finish(0)
        assert shown(out)[0] == "Here is a cat"
        assert shown(out)[1].startswith("image decoder")
        assert "25%" in shown(out)[1]
        screen.text("And more.")
    assert shown(out) == ["Here is a cat", "And more."]


def test_two_decoders_have_a_bar_each_until_each_has_ended() -> None:
    out, console = terminal()
    with Screen(console) as screen:
        screen.progress(1, work(1))
        screen.progress(2, work(2))
        assert [line.split("%")[0][-2:] for line in shown(out)] == ["25", "50"]
        screen.line("[one.png]")
        screen.finish(1)
        assert [line.split("%")[0][-2:] for line in shown(out)[1:]] == ["50"]
        screen.finish(2)
    assert shown(out) == ["[one.png]"]


def test_a_pipe_gets_the_words_alone() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=60)) as screen:
        screen.text("Here is ")
        screen.progress(1, work(2))
        screen.text("a cat [bold] of 10 words " * 4)
        screen.finish(0)
        screen.line("[cat.png]")
        screen.finish(1)
    assert out.getvalue() == "Here is " + "a cat [bold] of 10 words " * 4 + "\n[cat.png]\n"
