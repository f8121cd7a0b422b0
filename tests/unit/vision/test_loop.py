from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from services.trainer.checkpoint import Progress
from services.trainer.curve import Curve
from services.trainer.loop import Run, train
from services.trainer.sheet import Sheet

LEARN = """
import signal, sys, time
from pathlib import Path
from tests.unit.vision.test_loop import learn
# Whoever is started in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
learn(Path(sys.argv[1]), steps=60, resume=sys.argv[2] == "resume", pause=float(sys.argv[3]))
"""


def learn(folder: Path, steps: int, resume: bool = False, pause: float = 0.0) -> dict[str, Tensor]:
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 1))

    def step(_: int) -> Tensor:
        time.sleep(pause)
        x = torch.randn(16, 4)
        return functional.mse_loss(model(x), x.sum(1, keepdim=True))

    train(Run(folder, steps, resume=resume, save_every=10, log_every=1, warmup=5), model, step)
    return model.state_dict()


def interrupt(folder: Path, number: signal.Signals) -> int:
    """Send a signal to a process that learns, after its first checkpoint; how the process ended."""
    command = [sys.executable, "-c", LEARN, str(folder), "start", "0.1"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as child:
        while not (folder / "checkpoint.safetensors").exists():
            assert child.poll() is None
            time.sleep(0.05)
        child.send_signal(number)
    return child.returncode


def test_a_run_that_was_killed_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    expected = learn(whole, steps=60)
    interrupt(killed, signal.SIGKILL)
    assert len(Curve(killed).rows()) < 60
    found = learn(killed, steps=60, resume=True)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)
    assert [row[::2] for row in Curve(killed).rows()] == [row[::2] for row in Curve(whole).rows()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_within_a_step_goes_on_as_if_it_had_never_stopped(
    tmp_path: Path, number: signal.Signals
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    expected = learn(whole, steps=60)
    assert interrupt(stopped, number) != 0
    assert 10 <= len(Curve(stopped).rows()) < 60
    found = learn(stopped, steps=60, resume=True)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0)
    assert [row[::2] for row in Curve(stopped).rows()] == [row[::2] for row in Curve(whole).rows()]


def test_what_breaks_within_a_step_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)

    def step(number: int) -> Tensor:
        if number == 7:
            raise RuntimeError("no memory")
        return torch.as_tensor(model(torch.ones(1, 2)).square().mean())

    with pytest.raises(RuntimeError, match="no memory"):
        train(Run(tmp_path, steps=20, save_every=5), model, step)
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        assert '"step": 5' in file.metadata()["progress"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_run_ends_when_its_minutes_are_spent(tmp_path: Path) -> None:
    model = nn.Linear(2, 1)

    def step(_: int) -> Tensor:
        time.sleep(0.02)
        return torch.as_tensor(model(torch.ones(1, 2)).square().mean())

    progress = train(Run(tmp_path, steps=10_000, minutes=0.2 / 60), model, step)
    assert 0.2 <= progress.seconds < 2


def test_looking_at_samples_leaves_no_trace_in_the_run(tmp_path: Path) -> None:
    def weights(folder: Path, looks: bool) -> Tensor:
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        run = Run(folder, steps=12, sample_every=3 if looks else 0)
        train(
            run,
            model,
            lambda _: model(torch.randn(8, 4)).square().mean(),
            lambda: Sheet(str(torch.randn(3)), []),
        )
        return model.weight.detach().clone()

    assert torch.equal(weights(tmp_path / "a", looks=True), weights(tmp_path / "b", looks=False))


def test_a_frozen_weight_is_neither_trained_nor_saved(tmp_path: Path) -> None:
    frozen = nn.Linear(4, 4).requires_grad_(False)
    model, before = nn.Sequential(frozen, nn.Linear(4, 1)), frozen.weight.clone()
    train(Run(tmp_path, steps=3), model, lambda _: model(torch.randn(8, 4)).square().mean())
    assert torch.equal(frozen.weight, before)
    with safe_open(tmp_path / "checkpoint.safetensors", framework="pt") as file:
        assert not [name for name in set(file.keys()) if name.startswith("model.0")]


@pytest.mark.parametrize(("step", "share"), [(0, 0.02), (49, 1.0)])
def test_the_learning_rate_warms_up(tmp_path: Path, step: int, share: float) -> None:
    run = Run(tmp_path, steps=10**9, learning_rate=1.0, warmup=50)
    assert run.rate(Progress(step)) == pytest.approx(share)
