"""The command line: `anygpt`. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import io
import os
import sys
from importlib.metadata import entry_points
from typing import NoReturn

import typer

from anygpt.cli_bench import bench
from anygpt.cli_chat import chat
from anygpt.cli_dead import dead
from anygpt.cli_generate import PartsCommand, generate
from anygpt.cli_inspect import inspect
from anygpt.cli_jobs import jobs
from anygpt.cli_keys import credential_options, keys, secrets
from anygpt.cli_media import describe, download, upload
from anygpt.cli_serve import health, init, serve

app = typer.Typer(
    name="anygpt",
    help="Any-to-any generation: text, image, video, speech and audio in, the same five out.",
    epilog="Begin with `anygpt serve` in one terminal and `anygpt chat` in another.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.callback()(credential_options)
app.command()(serve)
app.command()(init)
app.command()(secrets)
app.command()(health)
app.command()(describe)
app.command(cls=PartsCommand)(generate)
app.command()(chat)
app.command()(upload)
app.command()(download)
app.command()(bench)
app.command()(inspect)
app.add_typer(jobs)
app.add_typer(dead)
app.add_typer(keys)
for point in entry_points(group="anygpt.commands"):
    command = point.load()
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=point.name)
    else:
        app.command(point.name)(command)


@app.command()
def demo(
    out: str = typer.Option("out/demo", help="Folder for the media and the page that shows them."),
    data: str = typer.Option("", help="Data folder of the system it starts; empty: a temporary one."),
) -> None:
    """Start the whole system in one process and hold a conversation of all five modalities with it."""
    from anygpt.demo import run_demo

    run_demo(out, data)


def main() -> None:
    """Run the command line; an error that has a reason is told in a line, whatever a person can get wrong has one."""
    from anygpt.errors import AnyGPTError

    if isinstance(sys.stdout, io.TextIOWrapper):
        # What a file or a model says may have no place in a terminal's encoding.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app()
    except AnyGPTError as error:
        field = f" ({error.field})" if error.field else ""
        _leave(f"{error.reason}{field}: {error.message}")
    except BrokenPipeError:
        # Whoever read our output has gone, e.g. `head`; Python would complain once more while it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _leave(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except ValueError as error:
        from pydantic import ValidationError

        if not isinstance(error, ValidationError):
            raise
        for fault in error.errors(include_input=False, include_url=False):
            print(f"anygpt: SETTINGS ({'.'.join(map(str, fault['loc']))}): {fault['msg']}", file=sys.stderr)
        sys.exit(1)


def _leave(message: str) -> NoReturn:
    print(f"anygpt: {message}", file=sys.stderr)
    sys.exit(1)
