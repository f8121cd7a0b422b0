"""Parts of a pack on the device of the process."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from anygpt.errors import Precondition
from anygpt.settings import ServiceSettings

Model = TypeVar("Model", bound=ModelMixin)


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
    part: Model = kind.from_pretrained(folder, torch_dtype=torch.float32)
    nn.Module.to(part, device)
    return part.requires_grad_(False).eval()
