"""`anygpt demo` with plain torch in bfloat16 and with the compiled step, in turn: what the latter is worth."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.row import Row
from tests.servers.settings import child_environment

PROGRAM = str(Path(sys.executable).with_name("anygpt"))
TIMES = re.compile(r"first piece after ([\d.]+) s, all after ([\d.]+) s")


def measure(repeats: int) -> list[Row]:
    """Seconds of all turns by number format, and the ratio."""
    figures: dict[str, list[float]] = {"bf16": [], "auto": []}
    for _ in range(repeats):
        for dtype, seconds in figures.items():
            seconds.append(_turns(dtype))
    ratios = [plain / compiled for plain, compiled in zip(figures["bf16"], figures["auto"], strict=True)]
    return [
        Row("demo, all turns, plain torch in bf16", figures["bf16"], "s"),
        Row("demo, all turns, compiled step", figures["auto"], "s"),
        Row("demo, plain torch / compiled step", ratios, "x", "> 1x"),
    ]


def _turns(dtype: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [PROGRAM, "demo", "--out", str(Path(folder) / "out"), "--data", str(Path(folder) / "data")]
        environment = child_environment(ANYGPT_DTYPE=dtype, COLUMNS="200")
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    times = TIMES.findall(done.stdout)
    assert len(times) == 6, done.stdout
    return sum(float(whole) for _, whole in times)
