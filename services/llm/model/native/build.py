"""Compiles the C++ files of this folder, once for each compiler, processor and version of the files."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
from pathlib import Path

log = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
COMPILERS = ("g++", "clang++")
FLAGS = ("-std=c++20", "-O3", "-march=native", "-pthread", "-shared", "-fPIC")
NEEDED = {"avx2", "fma", "f16c"}


def load_library(cache: Path) -> ctypes.CDLL | None:
    """The compiled step; None where the processor lacks AVX2 or no compiler is installed."""
    features = _processor_features()
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if not features >= NEEDED:
        return None
    sources = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.[ch]pp")))
    key = hashlib.sha256(sources + " ".join([*FLAGS, *sorted(features)]).encode()).hexdigest()
    path = cache / "native" / f"{key[:32]}.so"
    if not path.is_file() and (compiler is None or not _compile(compiler, path)):
        return None
    library = ctypes.CDLL(str(path))
    library.team_open.restype = ctypes.c_void_p
    library.forward.restype = library.logits.restype = ctypes.c_bool
    return library


def _compile(compiler: str, path: Path) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    command = [compiler, *FLAGS, str(FOLDER / "llama.cpp"), "-o", str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        log.warning("the native step was not compiled: %s", done.stderr.strip()[:500])
        return False
    partial.replace(path)
    return True


def _processor_features() -> set[str]:
    """Instruction sets by their names in /proc/cpuinfo; none where that is not x86 Linux."""
    info = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not info.is_file():
        return set()
    lines = (line for line in info.read_text().splitlines() if line.startswith("flags"))
    return set(next(lines, "").partition(":")[2].split())
