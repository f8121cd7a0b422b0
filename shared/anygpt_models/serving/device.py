"""Parts of a pack on the device of the process."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch

from anygpt.errors import Precondition
from anygpt.settings import ServiceSettings
from anygpt_models.part import Part

Model = TypeVar("Model", bound=Part)


def prepare_device(settings: ServiceSettings) -> torch.device:
    """The device of the models; sets the process's CPU threads where the settings name a number.

    Raises Precondition for a device that is not there.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    try:
        device = torch.device(settings.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        message = f"this machine has no device {settings.device!r}"
        raise Precondition(message, reason="DEVICE_MISSING", field="device") from error
    return device


def load_part(kind: type[Model], folder: Path, device: torch.device) -> Model:
    """A part of a pack, in single precision, for inference."""
    part = kind.open(folder)
    torch.nn.Module.to(part, device)  # diffusers' own `to` is not typed
    return part
