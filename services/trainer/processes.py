"""Several processes that train one model: each takes its shards of a step, and all take the mean of the gradients.

Stands on accelerate, so that `accelerate launch` or `torchrun` spreads the same recipe over devices and nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast
from torch import Tensor, distributed, nn

from services.trainer.device import here, on_processors

Step = Callable[[int], Tensor]
"""Step number -> scalar loss; draws its randomness from torch's global generator."""
_SEEDS = 1_000_003
"""Shards of one step and steps of one run are far apart in the generator."""


@contextmanager
def joined() -> Iterator[None]:
    """Work that several processes may share; after it each leaves the group.

    Left open, the group's own threads outlive the interpreter: one process in twenty was aborted at its end by them.
    """
    yield
    if distributed.is_initialized():
        distributed.destroy_process_group()


def once(write: Callable[[], None]) -> None:
    """Let one process write what all of them made; the others wait until it is there."""
    state = _state()
    if state.is_main_process:
        write()
    state.wait_for_everyone()


def process_count() -> int:
    """How many processes share the runs of this one."""
    return int(_state().num_processes)


def _state() -> PartialState:
    return PartialState(cpu=on_processors(here()))


class Processes:
    """The processes of a run, one or many.

    With more than one shard a step is the mean over shards, each with a seed of its own: so the loss curve does not
    depend on how many processes share them.
    """

    def __init__(self, device: torch.device, shards: int, seed: int) -> None:
        self._accelerator = Accelerator(cpu=on_processors(device), mixed_precision="no")
        self._shards = max(shards, 1)
        self._seed = seed
        count = self._accelerator.num_processes
        if self._shards % count:
            raise ValueError(f"{self._shards} shards cannot be shared evenly by {count} processes")

    @property
    def is_main(self) -> bool:
        """Whether this one writes checkpoints, curve and samples."""
        return bool(self._accelerator.is_main_process)

    def start_alike(self, weights: Sequence[nn.Parameter]) -> None:
        """Give every process the first one's weights."""
        if self._accelerator.num_processes > 1:
            for weight in weights:
                weight.data = broadcast(weight.data)

    def backward(self, step: Step, number: int, weights: Sequence[nn.Parameter]) -> Tensor:
        """Leave the gradients of one whole step in the weights; the loss of the whole step."""
        count, first = self._accelerator.num_processes, self._accelerator.process_index
        mine = range(first, self._shards, count)
        losses = []
        for shard in mine:
            if self._shards > 1:
                torch.manual_seed(self._seed + _SEEDS * (number * self._shards + shard + 1))
            loss = step(number * self._shards + shard)
            self._accelerator.backward(loss / len(mine))
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        if count == 1:
            return mean
        self._share(weights)
        shared: Tensor = self._accelerator.reduce(mean, reduction="mean")
        return shared

    def mean(self, value: float) -> float:
        """The same number in all processes: budgets and rates must not depend on whose clock is read."""
        if self._accelerator.num_processes == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self._accelerator.device)
        return float(self._accelerator.reduce(shared, reduction="mean"))

    def wait(self) -> None:
        """Until all are here."""
        self._accelerator.wait_for_everyone()

    def _share(self, weights: Sequence[nn.Parameter]) -> None:
        """The mean of all gradients in one message; a weight without one counts as zero."""
        grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in weights]
        flat: Tensor = self._accelerator.reduce(
            torch.cat([grad.flatten() for grad in grads]), reduction="mean"
        )
        for weight, mean in zip(weights, flat.split([grad.numel() for grad in grads]), strict=True):
            weight.grad = mean.view_as(weight).clone()
