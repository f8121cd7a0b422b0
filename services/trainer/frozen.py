"""Proof that what is frozen stays as it was: one digest over every weight that is not trained."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from anygpt.errors import DataLoss


def frozen_digest(model: nn.Module) -> str:
    """Sha256 over the names and bytes of the weights that are not trained; empty where all of them are."""
    digest, found = hashlib.sha256(), False
    for name, weight in sorted(model.named_parameters()):
        if not weight.requires_grad:
            found = True
            digest.update(name.encode())
            digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest() if found else ""


def check_frozen(model: nn.Module, digest: str) -> None:
    """Raise DataLoss when a frozen weight is not what it was when its digest was taken."""
    if frozen_digest(model) != digest:
        raise DataLoss("a weight that should be frozen was changed", reason="FROZEN_CHANGED", field="model")
