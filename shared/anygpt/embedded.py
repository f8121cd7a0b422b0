"""A private system in a process of its own, for commands that talk to it as any client does."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
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
    with _unwound_by_sigterm(), log.open("w") as errors:
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


@contextmanager
def _unwound_by_sigterm() -> Iterator[None]:
    """Let SIGTERM unwind what is under way, as Ctrl-C does, lest a system stays behind."""
    is_heard = signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    if is_heard or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(process: subprocess.Popen[str]) -> None:
    """Wait until it has ended; what hangs is killed."""
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
