"""A small run that one process or several can do: `python -m tests.unit.trainer.shared_run FOLDER STEPS`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.trainer.loop import Run, train
from services.trainer.processes import joined
from services.trainer.recipe import held

SHARDS = 4


def learn(folder: Path, steps: int) -> dict[str, Tensor]:
    """Train a small network with a frozen part; the same in every process."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(4, 8).requires_grad_(False), nn.GELU(), nn.Linear(8, 1))

    def step(_: int) -> Tensor:
        x = torch.randn(16, 4)
        return functional.mse_loss(model(x), x.sum(1, keepdim=True))

    train(Run(folder, steps, save_every=5, log_every=1, warmup=5, shards=SHARDS), model, step)
    return model.state_dict()


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined(), held(Path(sys.argv[1])):
        learn(Path(sys.argv[1]), int(sys.argv[2]))
