"""Where a stage computes. No other file of the trainer names a device: tensors are made on the one in force."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from accelerate import Accelerator
from torch import Tensor

from anygpt.errors import InvalidInput

CPU, CUDA = "cpu", "cuda"


def device_of(name: str) -> torch.device:
    """The processors, or the accelerator that this process was given; `with` it, all tensors are made there.

    Raises InvalidInput for a device that is not here.
    """
    if name == CPU:
        return torch.device(CPU)
    if name != CUDA or not torch.cuda.is_available():
        raise InvalidInput(f"there is no device {name!r} here", reason="DEVICE_UNKNOWN", field="--device")
    torch.set_float32_matmul_precision("high")
    return torch.device(Accelerator(mixed_precision="no").device)


def here() -> torch.device:
    """The device in force."""
    return torch.get_default_device()


def on_processors(device: torch.device) -> bool:
    """Whether a device is the machine's own processors."""
    return device.type == CPU


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 itself; elsewhere it would be ten times as slow."""
    return not on_processors(device) or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def mixed_precision(enabled: bool = True) -> torch.autocast:
    """Matrix products in bfloat16 where the device multiplies it."""
    return torch.autocast(here().type, torch.bfloat16, enabled=enabled and multiplies_bf16(here()))


def full_precision() -> torch.autocast:
    """Everything in the precision of its tensors, inside a stage that computes in mixed precision."""
    return torch.autocast(here().type, enabled=False)


def untouched_randomness() -> AbstractContextManager[None]:
    """What is drawn inside leaves no trace in the generators of the processors and of the device in force."""
    return torch.random.fork_rng([] if on_processors(here()) else [here()], device_type=CUDA)


def random_states() -> dict[str, Tensor]:
    """The generators that a run draws from, by name."""
    states = {CPU: torch.get_rng_state()}
    if not on_processors(here()):
        states[here().type] = torch.get_device_module(here()).get_rng_state(here())
    return states


def set_random_states(states: dict[str, Tensor]) -> None:
    """Put the generators back; a run that goes on elsewhere draws anew from a generator that it had not."""
    torch.set_rng_state(states[CPU])
    if here().type in states and not on_processors(here()):
        torch.get_device_module(here()).set_rng_state(states[here().type], here())
