from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed

from services.trainer.curve import Curve
from services.trainer.loop import PARAMETERS
from services.trainer.processes import joined
from tests.unit.trainer.shared_run import learn

STEPS = 20


def by_several(folder: Path, count: int) -> None:
    """The run in several processes on this machine's processors, as `accelerate launch` starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = os.environ | {
        "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count),
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.unit.trainer.shared_run", str(folder), str(STEPS)]
    ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    with ExitStack() as stack:
        children = [stack.enter_context(subprocess.Popen(command, env=shared | rank)) for rank in ranks]
        for child in children:
            stack.callback(child.kill)
        assert [child.wait() for child in children] == [0] * count


@pytest.mark.timeout(600)
def test_two_processes_give_the_loss_curve_and_the_weights_of_one(tmp_path: Path) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    learn(alone, STEPS)
    by_several(shared, 2)
    expected, found = Curve(alone).rows(), Curve(shared).rows()
    assert [row[0] for row in found] == list(range(1, STEPS + 1))
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], rel=1e-4)
    one, two = (load_file(folder / "checkpoint.safetensors") for folder in (alone, shared))
    for name in one:
        if name.startswith("model."):
            torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)


def test_a_process_has_left_its_group_before_it_ends(tmp_path: Path) -> None:
    with joined():
        distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
        distributed.barrier()
    assert not distributed.is_initialized()


def test_work_that_nobody_shares_leaves_no_group() -> None:
    with joined():
        pass
    assert not distributed.is_initialized()


def test_a_run_keeps_a_table_of_what_it_trains(tmp_path: Path) -> None:
    learn(tmp_path, 2)
    told = (tmp_path / PARAMETERS).read_text()
    assert "trained in all" in told
    assert "9" in told
    assert "no" in told


def test_a_run_keeps_to_its_own_precision_whatever_the_machine_is_set_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp8")
    by_several(tmp_path, 1)
    assert len(Curve(tmp_path).rows()) == STEPS
