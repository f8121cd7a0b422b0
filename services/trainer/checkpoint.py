"""One safetensors file that holds all a training run needs to go on as if it had never stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from anygpt.errors import DataLoss, Exhausted, Precondition
from anygpt.whole import written_whole
from services.trainer.device import random_states, set_random_states
from services.trainer.frozen import frozen_digest


@dataclass(frozen=True)
class Progress:
    """How far a run is: optimiser steps done, and seconds spent in training."""

    step: int = 0
    seconds: float = 0.0


def save(
    path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress, frozen: str = ""
) -> None:
    """Write trained weights, optimiser state, random state and, of what is frozen beside them, the digest.

    A kill leaves the old file or the new one.
    """
    tensors = {f"model.{name}": tensor for name, tensor in _trained(model).items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    tensors |= {f"random.{name}": state for name, state in random_states().items()}
    contiguous = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(".tmp*"):
        # Safetensors writes beside the file that it is asked for, and a kill leaves that.
        left.unlink(missing_ok=True)
    try:
        with written_whole(path) as unfinished:
            metadata = {"progress": json.dumps(asdict(progress)), "frozen": frozen}
            save_file(contiguous, unfinished, metadata=metadata)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
    except (OSError, SafetensorError) as error:
        raise Exhausted(
            f"no checkpoint could be written, the last one stays: {error}",
            reason="CHECKPOINT_UNWRITTEN",
            field=path.name,
        ) from error


def load(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> Progress:
    """Put a saved run back into its model, its optimiser and the generators.

    Raises Precondition for a checkpoint of another model, such as one of another vocabulary, and DataLoss for a file
    that is no whole checkpoint; nothing is changed then.
    """
    with _opened(path) as file:
        progress, _ = _facts(file)
        tensors = {name: file.get_tensor(name) for name in set(file.keys())}
    weights = _trained(model)
    _check(tensors, weights, path)
    states = [name for name in tensors if name.startswith("random.")]
    set_random_states({name.removeprefix("random."): tensors.pop(name) for name in states})
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        owner, rest = name.split(".", 1)
        if owner == "model":
            weights[rest].data.copy_(tensor)
        else:
            index, key = rest.split(".", 1)
            state.setdefault(int(index), {})[key] = tensor
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
    return progress


def frozen_as_kept(model: nn.Module) -> str:
    """The digest of what is frozen in a model, in the half precision in which a pack keeps it: that changes nothing."""
    frozen = (weight for weight in model.parameters() if not weight.requires_grad)
    return frozen_digest(nn.ParameterList(nn.Parameter(one.half(), requires_grad=False) for one in frozen))


def facts(path: Path) -> tuple[Progress, str]:
    """How far a saved run is, and the digest of what was frozen in it. Raises DataLoss as `load` does."""
    with _opened(path) as file:
        return _facts(file)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A checkpoint to read from; whatever is wrong with the file is told as one error."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        name = f"{path.parent.name}/{path.name}"
        message = f"{name} is no whole checkpoint, begin without it: {type(error).__name__} {error}"
        raise DataLoss(message, reason="CHECKPOINT_BROKEN", field=name) from error


def _facts(file: Any) -> tuple[Progress, str]:
    metadata = file.metadata()
    return Progress(**json.loads(metadata["progress"])), metadata["frozen"]


def _check(tensors: dict[str, Tensor], weights: dict[str, Tensor], path: Path) -> None:
    saved = {
        name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")
    }
    for name in sorted(saved.keys() | weights.keys()):
        had, has = (tuple(one[name].shape) if name in one else None for one in (saved, weights))
        if had != has:
            raise Precondition(
                f"the checkpoint is of another model: {name} was {had}, is {has}",
                reason="CHECKPOINT_MISMATCH", field=path.name,
            )  # fmt: skip


def _trained(model: nn.Module) -> dict[str, Tensor]:
    """Trainable parameters and buffers: a frozen base model is not written again with every checkpoint."""
    parameters = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    return {**parameters, **dict(model.named_buffers())}
