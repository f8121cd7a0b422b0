"""One server process: start, readiness, stop, and the faults that chaos tests ask for."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from tests.servers.settings import child_environment

START_SECONDS = 90.0
STOP_SECONDS = 20.0
REAPER = 'read -r _; kill -s KILL -- "-$1"'


class ServerFailed(RuntimeError):
    """A server did not come up; the message ends with the tail of its log."""


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """A child process that listens on the loopback interface and keeps its data in one folder.

    Port and data stay the same over `stop`, `kill` and `start`, so that clients can reconnect.
    The child dies with the process that started it, even when that one is killed.
    """

    name: str
    start_seconds = START_SECONDS

    def __init__(self, folder: Path | None = None) -> None:
        self._made = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"anygpt-{self.name}-"))
        self.data = self.folder / "data"
        self.log = self.folder / f"{self.name}.log"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._reaper: subprocess.Popen[bytes] | None = None
        self.exit_status: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The address in the form that `anygpt serve` takes."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line of the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server answers its own protocol; OSError means not yet."""

    def environment(self) -> dict[str, str]:
        """Variables of the server beyond those of this process."""
        return {}

    def prepare(self) -> None:
        """Makes the data folder ready for a first start."""

    @property
    def running(self) -> bool:
        """Whether the process is alive (it may be paused)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Starts the server and returns when it answers."""
        if self.running:
            return self
        if not self.data.exists():
            self.data.mkdir(parents=True)
            self.prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=child_environment(**self.environment()),
                start_new_session=True,
            )
        reaper = ["sh", "-c", REAPER, "reaper", str(self._process.pid)]
        self._reaper = subprocess.Popen(reaper, stdin=subprocess.PIPE, start_new_session=True)
        self._wait_until_ready()
        return self

    def stop(self) -> None:
        """Ends the server as an operator would; data and port stay."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server at once, as a power cut would; data and port stay."""
        self._end(signal.SIGKILL)

    @contextmanager
    def paused(self) -> Iterator[Self]:
        """Freezes the server inside the block: its connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)
        try:
            yield self
        finally:
            self._signal(signal.SIGCONT)

    def down_for(self, seconds: float) -> None:
        """Stops the server, waits, and starts it again with its data."""
        self.stop()
        time.sleep(seconds)
        self.start()

    def restart_empty(self) -> None:
        """Kills the server, wipes its data, and starts it on the same port."""
        self.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        self.start()

    def __enter__(self) -> Self:
        with ExitStack() as unless_started:
            unless_started.callback(self.close)
            self.start()
            unless_started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stops the server and removes the folder if it was made here."""
        self.stop()
        if self._made:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._signal(number)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.exit_status = self._process.returncode
        self._process = None
        self._dismiss_reaper()

    def _dismiss_reaper(self) -> None:
        if self._reaper is not None:
            self._reaper.kill()
            self._reaper.communicate()
            self._reaper = None

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_seconds
        while not self._ready():
            if not self.running or time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} did not start:\n{self.last_words()}")
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            return self.answers()
        except OSError:
            return False

    def last_words(self) -> str:
        """How the process ended, where it has, and the last lines that it wrote."""
        status = self._process.poll() if self._process else self.exit_status
        return f"exit status {status}\n{self.log.read_text(errors='replace')[-2000:]}"
