"""A private system in a process of its own, for commands that talk to it as any client does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anygpt import topology
from anygpt.settings import private_environment

STOP_S = 120.0
SERVED = (topology.GATEWAY, *topology.STAGES)
"""What answers requests: whoever takes work from a queue would take it from the user's own."""


@contextmanager
def embedded(data: Path, pack: str = "mini") -> Iterator[str]:
    """Start gateway and stages on a free port over a data folder; gives the gateway's address.

    Raises SystemExit with the end of its log when it does not start.
    """
    data.mkdir(parents=True, exist_ok=True)
    log = data / "serve.log"
    options = ["--port", "0", "--data", str(data), "--pack", pack]
    command = [sys.executable, "-m", "anygpt", "serve", *SERVED, *options]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=private_environment()
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.startswith("ready on "):
            said = log.read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"the system did not start:\n{said[-4000:]}")
        yield line.removeprefix("ready on ").strip()
    finally:
        process.terminate()
        _end(process)
        process.stdout.close()


def _end(process: subprocess.Popen[str]) -> None:
    """Wait until it has ended; what hangs is killed."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
