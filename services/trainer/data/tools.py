"""Programs and packages that fetch or render data: where one is missing, an error says what to install."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from anygpt.errors import Precondition

LAST_CHARACTERS = 300
"""Of what a program said before it failed."""


def run(command: Sequence[str | Path], install: str, folder: Path | None = None) -> str:
    """Run a program, and return what it complained of.

    Raises Precondition when it is not installed, with what to install, and when it fails.
    """
    name = str(command[0])
    if shutil.which(name) is None:
        raise missing(name, install)
    ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, errors="replace")
    said = ended.stderr.strip()[-LAST_CHARACTERS:]
    if ended.returncode:
        raise failed(name, said or f"exit status {ended.returncode}")
    return said


@contextmanager
def from_extra(extra: str) -> Iterator[None]:
    """Imports of packages that an extra brings. Raises Precondition, which names the extra, when one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = str(error.name).partition(".")[0]
        raise missing(name, f"pip install 'anygpt-service[{extra}]'") from error


def missing(name: str, install: str) -> Precondition:
    """The error for a program or a package that is not installed."""
    return Precondition(f"{name} is not installed: {install}", reason="TOOL_MISSING", field=name)


def failed(name: str, said: str) -> Precondition:
    """The error for a program that did not do what it was asked for."""
    return Precondition(f"{name} failed: {said}", reason="TOOL_FAILED", field=name)
