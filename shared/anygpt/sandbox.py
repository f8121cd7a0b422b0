"""Work on bytes that nobody vouches for, in child processes that may die: bounded in memory, time, files and output.

A child gets no secrets (an empty environment), can write no file, and answers in JSON and raw bytes, never in
objects. Children are reused; one that dies, or overstays its time, is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

from anygpt.errors import Unavailable, from_failure
from anygpt.sandbox_child import FAILED, FINISHED, LOAD_S, receive, send
from anygpt.settings import SandboxSettings
from anygpt.v1 import types_pb2

T = TypeVar("T")
Facts: TypeAlias = Mapping[str, Any]
"""What JSON can say."""
Operation: TypeAlias = Callable[[dict[str, Any], bytes], tuple[Facts, bytes]]
"""A function at the top of a module: facts and bytes in, facts and bytes out."""
TASKS = 500
"""After so many tasks a child is replaced, whatever it has leaked."""


class Died(Exception):
    """The child ended before it answered, or answered what is no answer."""


class Overstayed(Exception):
    """The child had no answer in its time, and was killed."""


@dataclass(eq=False, slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    tasks: int = 0

    def end(self) -> None:
        """Kill and reap."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self.process.wait()


class Sandbox:
    """A few children; `run` waits for a free one. Safe from any thread."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._free: SimpleQueue[_Child | None] = SimpleQueue()
        for _ in range(settings.children):
            self._free.put(None)
        self._threads = ThreadPoolExecutor(settings.children, "sandbox")
        self._is_closed = False

    def warm(self, module: str) -> None:
        """Have the children that are not there yet start and load a module, while others go on; does not wait."""
        free = [self._free.get() for _ in range(self._settings.children)]
        for child in free:
            self._free.put(self._started(module) if child is None else child)

    async def aside(self, work: Callable[[], T]) -> T:
        """Run blocking work that calls `run`, in a thread of its own: whoever waits for a child takes no other."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)

    def run(self, operation: Operation, facts: Facts, data: bytes = b"") -> tuple[dict[str, Any], bytes]:
        """Call `operation(facts, data)` in a child; blocks.

        Raises what the operation raises if it is an error of ours; Died; Overstayed.
        """
        if self._is_closed:
            raise Unavailable("the process is closing")
        child = self._free.get()
        try:
            if child is None or child.process.poll() is not None or child.tasks >= TASKS:
                child = self._replaced(child, operation.__module__)
            if not child.tasks:
                self._asked(child, f"{operation.__module__}:", {}, b"", LOAD_S)
            child.tasks += 1
            name = f"{operation.__module__}:{operation.__qualname__}"
            return self._asked(child, name, facts, data, self._settings.seconds)
        except (Died, Overstayed, OSError):
            # The next one begins to load at once: whoever comes then waits less.
            child = self._replaced(child, operation.__module__)
            raise
        finally:
            self._free.put(child)

    def close(self) -> None:
        """End the children; one that works is waited for."""
        self._is_closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for _ in range(self._settings.children):
            child = self._free.get()
            if child is not None:
                child.end()

    def _replaced(self, child: _Child | None, module: str) -> _Child:
        if child is not None:
            child.end()
        return self._started(module)

    def _started(self, module: str) -> _Child:
        settings = self._settings
        limits = [settings.memory_bytes, round(settings.seconds), settings.output_bytes]
        command = [sys.executable, "-I", "-m", "anygpt.sandbox_child", module, *map(str, limits)]
        return _Child(
            subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={"OMP_NUM_THREADS": "1"},
                cwd="/",
                start_new_session=True,
            )
        )

    def _asked(
        self, child: _Child, name: str, facts: Facts, data: bytes, seconds: float
    ) -> tuple[dict[str, Any], bytes]:
        overstayed = threading.Event()

        def kill() -> None:
            overstayed.set()
            child.process.kill()

        timer = threading.Timer(seconds, kill)
        timer.start()
        try:
            status, answer, output = self._exchanged(child, name, facts, data)
        except (OSError, EOFError, ValueError) as error:
            if overstayed.is_set():
                raise Overstayed(name) from error
            raise Died(name) from error
        finally:
            timer.cancel()
        if status == FINISHED:
            return answer, output
        if status == FAILED:
            raise from_failure(types_pb2.Failure(**answer))
        raise Died(name)

    def _exchanged(
        self, child: _Child, name: str, facts: Facts, data: bytes
    ) -> tuple[str, dict[str, Any], bytes]:
        stdin, stdout = child.process.stdin, child.process.stdout
        assert stdin is not None
        assert stdout is not None
        send(stdin, name, facts, data)
        return receive(stdout, self._settings.output_bytes)
