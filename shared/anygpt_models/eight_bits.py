"""Weights in 8 bits a number: large matrices as int8 rows with one scale each, everything else as it was.

Halves a part that was kept in half precision, at an error of at most 1/254 of a row's largest weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

SCALE = ".row_scale"
"""Ending of the name under which the scales of a packed matrix are kept."""
LEAST = 4096
"""Matrices with fewer numbers stay as they are."""


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Large floating-point matrices as int8 beside their scales; what is packed already stays so."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dim() > 1 and tensor.numel() >= LEAST:
            rows = tensor.float().flatten(1)
            scale = (rows.abs().amax(1) / 127).clamp_min(1e-8)
            found[name] = (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape)
            found[name + SCALE] = scale
        else:
            found[name] = tensor
    return found


def unpacked(path: Path) -> dict[str, Tensor]:
    """The tensors of a file in single precision, packed or not."""
    tensors = load_file(path)
    scales = {name.removesuffix(SCALE): tensors.pop(name) for name in [*tensors] if name.endswith(SCALE)}
    return {
        name: tensor.float() * scales[name].view(-1, *[1] * (tensor.dim() - 1)) if name in scales else tensor
        for name, tensor in tensors.items()
    }
