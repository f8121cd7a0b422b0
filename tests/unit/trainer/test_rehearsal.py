from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anygpt.pack import read_pack
from services.trainer import bundle, delivery
from services.trainer.curve import Curve
from services.trainer.mini import all_stages, stages
from services.trainer.stage_config import GPU, MINI, read_config
from tests.unit.trainer.rehearsal import STEPS, write_config
from tests.unit.trainer.tiny_data import write_tiny_data

BUDGET_MINUTES = 25
ASIDE_MINUTES = 2
"""For data, for the base model, and for what has no budget."""


def without_network() -> list[str]:
    """What puts a command into an empty network of its own; a machine that may not is not asked."""
    tool = shutil.which("unshare")
    if tool is None or subprocess.run([tool, "-n", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not take the network from a process")
    return [tool, "-n"]


def test_the_recipe_of_the_accelerator_fits_its_budget() -> None:
    configs = read_config(GPU, all_stages())
    minutes = sum(configs[name].minutes for name in stages() if configs[name].minutes < 1000)
    assert minutes + ASIDE_MINUTES <= BUDGET_MINUTES


def test_every_stage_that_learns_by_the_clock_has_a_budget_on_both_machines() -> None:
    small, large = read_config(MINI, all_stages()), read_config(GPU, all_stages())
    for name in all_stages():
        assert (small[name].minutes < 1000) >= (large[name].minutes < 1000)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_one_command_makes_a_whole_pack_from_a_bundle_alone_and_brings_it_home(tmp_path: Path) -> None:
    isolated = without_network()
    bundle.pack(write_tiny_data(tmp_path / "cache"), tmp_path / "mini.zip")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "services.trainer.offline", str(tmp_path / "mini.zip"), "out"]
    command += ["--device", "cpu", "--config", str(write_config(tmp_path / "tiny.toml"))]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(scratch)}
    subprocess.run([*isolated, *command], cwd=scratch, env=environment, check=True)
    delivered = sorted((scratch / "out").iterdir())
    assert 0 < len(delivered) <= delivery.MOST_FILES
    assert all(path.stat().st_size <= delivery.MOST_BYTES for path in delivered)
    delivery.receive(scratch / "out", tmp_path / "pack" / "mini", tmp_path / "runs")
    assert set(read_pack(f"{tmp_path}/pack/mini").outputs)
    curves = [Curve(path.parent).rows() for path in (tmp_path / "runs").rglob("loss.csv")]
    assert len(curves) > 15
    assert all(len(rows) == STEPS for rows in curves)
