"""The child of a sandbox: takes task after task from its standard input, under limits that it gives itself first.

A frame is two lengths (4 and 8 bytes), JSON with a word and facts, and raw bytes.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import struct
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from anygpt.errors import AnyGPTError

FINISHED = "finished"
FAILED = "failed"
LOAD_S = 120
"""Longest time for a new child to load what it is to run: on a busy machine that is slow, and no file's fault."""
_LENGTHS = struct.Struct("<IQ")
_FACTS_BYTES = 1 << 20
_FILES = 64
_SET_PDEATHSIG, _SET_NO_NEW_PRIVS = 1, 38


def send(pipe: BinaryIO | Any, word: str, facts: Mapping[str, Any], data: bytes) -> None:
    """Write one frame."""
    told = json.dumps([word, facts]).encode()
    pipe.write(_LENGTHS.pack(len(told), len(data)) + told)
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO | Any, limit_bytes: int) -> tuple[str, dict[str, Any], bytes]:
    """Read one frame. Raises EOFError when it is cut, ValueError when it is none or too large."""
    told_bytes, data_bytes = _LENGTHS.unpack(_exactly(pipe, _LENGTHS.size))
    if told_bytes > _FACTS_BYTES or data_bytes > limit_bytes:
        raise ValueError("the frame is too large")
    told = json.loads(_exactly(pipe, told_bytes))
    if not (isinstance(told, list) and len(told) == 2 and isinstance(told[1], dict)):
        raise ValueError("the frame is none of ours")
    return str(told[0]), told[1], _exactly(pipe, data_bytes)


def main(module: str, memory_bytes: int, seconds: int, output_bytes: int) -> None:
    """Load a module, then answer until standard input ends; a name without a function only loads its module.

    An error that is none of ours ends the child, as a crash would.
    """
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _confine(memory_bytes)
    _allow_cpu(LOAD_S)
    importlib.import_module(module)
    while True:
        try:
            name, facts, data = receive(tasks, sys.maxsize)
        except EOFError:
            return
        _allow_cpu(seconds if not name.endswith(":") else LOAD_S)
        word, answer, output = _done(name, facts, data)
        if len(output) > output_bytes:
            sys.exit("the output is too large")
        send(answers, word, answer, output)


def _done(name: str, facts: dict[str, Any], data: bytes) -> tuple[str, Mapping[str, Any], bytes]:
    module, _, function = name.partition(":")
    loaded = importlib.import_module(module)
    if not function:
        return FINISHED, {}, b""
    try:
        answer, output = getattr(loaded, function)(facts, data)
    except AnyGPTError as error:
        return FAILED, _failure(error), b""
    return FINISHED, answer, output


def _failure(error: AnyGPTError) -> dict[str, Any]:
    failure = error.to_failure()
    return {field.name: value for field, value in failure.ListFields()}


def _confine(memory_bytes: int) -> None:
    """Die with the parent, gain no right, fill no memory and no disk, leave no core."""
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))
    if sys.platform == "linux":
        process = ctypes.CDLL(None)
        process.prctl(_SET_PDEATHSIG, signal.SIGKILL)
        process.prctl(_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _allow_cpu(seconds: int) -> None:
    """CPU time for one more task: a busy loop ends even when nobody watches."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))


def _exactly(pipe: BinaryIO | Any, count: int) -> bytes:
    data: bytes = pipe.read(count)
    if len(data) < count:
        raise EOFError("the frame is cut")
    return data


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
