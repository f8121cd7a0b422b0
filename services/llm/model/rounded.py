"""Products with a matrix: as it is, or rounded to 8 or 4 bits for torch's own kernels, on CPUs and GPUs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

Product = Callable[[torch.Tensor], torch.Tensor]
"""Rows [N, in] to [N, out]."""

GROUP = 32
"""Columns that share a scale and an offset in 4 bits."""
MIDDLE = 8
"""The kernels' number of 4 bits that stands for the offset itself."""


def product(matrix: torch.Tensor, bits: int, bias: torch.Tensor | None = None) -> Product:
    """Rows times a matrix [out, in] of the wanted device and dtype; 0 bits: not rounded."""
    if not bits:
        return lambda x: F.linear(x, matrix, bias)
    rounded = _eight(matrix) if bits == 8 else _four(matrix)
    return rounded if bias is None else lambda x: rounded(x) + bias


def _eight(matrix: torch.Tensor) -> Product:
    """One scale a row."""
    scales = matrix.float().abs().amax(1).clamp_min(1e-30) / 127
    q = (matrix.float() / scales[:, None]).round_().to(torch.int8)
    scales = scales.to(matrix.dtype)
    if matrix.device.type == "cpu":
        return lambda x: torch._weight_int8pack_mm(x, q, scales)
    return lambda x: F.linear(x, q.to(x.dtype)) * scales


def _four(matrix: torch.Tensor) -> Product:
    """A scale and an offset for each group of columns."""
    x = matrix.float().view(len(matrix), -1, GROUP)
    least, most = x.amin(-1), x.amax(-1)
    scales = ((most - least) / 15).clamp_min(1e-30)
    q = ((x - least[..., None]) / scales[..., None]).round_().clamp_(0, 15).to(torch.int32).flatten(1)
    affine = torch.stack([scales, least + MIDDLE * scales], -1).transpose(0, 1).to(matrix.dtype).contiguous()
    if matrix.device.type == "cpu":
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(q, 2)
        return lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, GROUP, affine)
    pairs = (q[:, 0::2] << 4 | q[:, 1::2]).to(torch.uint8)
    packed = torch.ops.aten._convert_weight_to_int4pack(pairs, 2)
    return lambda x: torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, affine)
