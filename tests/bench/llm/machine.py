"""What the machine at hand can do: its memory's speed and its processor's, measured."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import torch

WANTED = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")


def describe() -> str:
    """Class of the machine: architecture, cores, the instruction sets that matter."""
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.is_file() else set()
    sets = " ".join(one for one in WANTED if one in words)
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()}, {sets}{gpu}"


def read_bandwidth(device: str = "cpu") -> float:
    """GB/s of reading far more than the caches hold, by all threads."""
    numbers = torch.ones((64 if device == "cpu" else 1024) * 1024 * 1024, device=device)
    numbers.sum()
    began = _now(device)
    numbers.sum()
    return numbers.nbytes / (_now(device) - began) / 1e9


def bf16_speed(size: int = 2048) -> float:
    """GFLOP/s of a product of two bfloat16 matrices."""
    one = torch.ones(size, size, dtype=torch.bfloat16)
    one @ one
    began = time.perf_counter()
    one @ one
    return 2 * size**3 / (time.perf_counter() - began) / 1e9


def _now(device: str) -> float:
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()
