"""Out of memory: the request is told, the process lives."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from anygpt.errors import Exhausted
from anygpt.pack import open_pack
from anygpt.topology import IMAGE
from services.llm.model.loading import RunnerOptions, load_runner
from services.llm.model.runner import Runner
from services.llm.step import Choice, Feed

PROGRAM = "import sys; from tests.unit.llm.test_memory import starve; starve(*sys.argv[1:])"
ROWS = 40_000
"""Positions whose scratch memory is far more than is left."""


class Starving:
    """A network whose device is full."""

    shapes: Sequence[int] = ()

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Fail as torch does on a CPU."""
        return torch.empty(2**45)

    def forward(self, embeddings: torch.Tensor, feeds: Sequence[Feed]) -> torch.Tensor:
        """Never reached."""
        raise NotImplementedError

    def logits(self, hidden: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
        """Never reached."""
        raise NotImplementedError


def test_torch_without_memory_is_told_apart_from_other_failures() -> None:
    runner = Runner(Starving(), {IMAGE: lambda _: torch.empty(2**45)}, torch.device("cpu"))
    with pytest.raises(Exhausted) as caught:
        runner.step([Feed([0], 0, [1])])
    assert caught.value.reason == "MEMORY"
    with pytest.raises(Exhausted):
        runner.project(IMAGE, np.zeros((1, 4), np.float32))
    broken = Runner(Starving(), {IMAGE: lambda x: x @ x}, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="size"):
        broken.project(IMAGE, np.zeros((1, 4), np.float32))


@pytest.mark.parametrize("dtype", ["int8", "fp32"])
def test_a_process_whose_memory_is_full_refuses_a_step_and_does_the_next(pack: Path, dtype: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(pack), dtype], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.split() == [b"refused", b"served"]


def starve(folder: str, dtype: str) -> None:
    """In a process of its own: run a step for which there is no memory, then one for which there is."""
    options = RunnerOptions(Path(folder).parent / "cache", ROWS // 16, 16, dtype, threads=2)
    runner = load_runner(open_pack(folder), options)
    small = [Feed([0], 0, [1, 2, 3])]
    runner.step(small)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 24 * 2**20, resource.RLIM_INFINITY))
    ids = [7] * 480
    try:
        for _ in range(64):
            runner.step([Feed(range(n * 30, n * 30 + 30), 0, ids) for n in range(80)])
    except Exhausted:
        print("refused")
    runner.step(small)
    print("served")
