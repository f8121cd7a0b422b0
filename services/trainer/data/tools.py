"""Programs that fetch or render data: what goes wrong with one is an error that says what to install."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from anygpt.errors import Precondition

LAST_CHARACTERS = 300
"""Of what a program said before it failed."""


def run(command: Sequence[str | Path], install: str, folder: Path | None = None) -> None:
    """Run a program. Raises Precondition when it is not installed, with what to install, and when it fails."""
    name = str(command[0])
    if shutil.which(name) is None:
        raise Precondition(f"{name} is not installed: {install}", reason="TOOL_MISSING", field=name)
    ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        said = ended.stderr.strip()[-LAST_CHARACTERS:] or f"exit status {ended.returncode}"
        raise Precondition(f"{name} failed: {said}", reason="TOOL_FAILED", field=name)
