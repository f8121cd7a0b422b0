"""Matrices in blocks of 32 numbers of a row, `scale * q + least`, in the layout of `native/blocks.hpp`."""

from __future__ import annotations

from dataclasses import dataclass

import torch

BLOCK = 32
TILE = 16
CLOSE = 1e-6
"""Of a block's range: a rounding error below it is no loss."""
LEVELS = {4: 15, 8: 127}
"""Largest q. Above 127, the sum of two products with int8 would not fit in 16 bits."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix [rows, columns] whose every block has whole numbers q, a scale and a least number in half precision."""

    q: torch.Tensor
    """[rows, columns / 32, 32], uint8."""
    scales: torch.Tensor
    """[rows, columns / 32], float16."""
    leasts: torch.Tensor
    bits: int

    def floats(self) -> torch.Tensor:
        """The matrix again, float32 [rows, columns]."""
        return (self.q * self.scales.float()[..., None] + self.leasts.float()[..., None]).flatten(1)

    def tiles(self) -> torch.Tensor:
        """The bytes as the kernels read them; the rows are filled up with zeros to whole tiles."""
        missing = -len(self.q) % TILE
        q, scales, leasts = (
            torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
            for part in (self.q, self.scales, self.leasts)
        )
        count, blocks = len(q) // TILE, q.shape[1]
        # [tiles, 2 halves, 8 rows, blocks, groups of columns, 4 columns] to the order of the bytes.
        q = q.view(count, 2, 8, blocks, 8, 4).permute(0, 3, 4, 1, 2, 5)
        if self.bits == 4:
            q = q[:, :, 0::2] | q[:, :, 1::2] << 4
        affine = torch.stack([scales, leasts]).view(2, count, TILE, blocks).permute(1, 3, 0, 2)
        affine = affine.contiguous().view(torch.uint8).reshape(count, blocks, -1)
        return torch.cat([q.reshape(count, blocks, -1), affine], dim=2).flatten()


def to_blocks(matrix: torch.Tensor, bits: int) -> Blocks:
    """Round a float32 matrix [rows, columns]; a matrix that 4 bits hold without loss always gets 4."""
    x = matrix.float().view(len(matrix), -1, BLOCK)
    for rounded in (lambda part: _spread(part, 4), _centred):
        # A few rows tell nearly always, and cost nothing.
        if _is_exact(rounded(x[:TILE]), x[:TILE]) and _is_exact(blocks := rounded(x), x):
            return blocks
    return _spread(x, bits)


def _spread(x: torch.Tensor, bits: int) -> Blocks:
    """From the smallest number to the largest (GGUF's Q4_1)."""
    least, most = x.amin(-1), x.amax(-1)
    return _round(x, (most - least) / LEVELS[bits], least, bits)


def _centred(x: torch.Tensor) -> Blocks:
    """Around zero, the number of largest size at one end (GGUF's Q4_0)."""
    extreme = x.gather(-1, x.abs().argmax(-1, keepdim=True))[..., 0]
    scale = (extreme / -8).half().float()
    return _round(x, scale, -8 * scale, 4)


def _round(x: torch.Tensor, scale: torch.Tensor, least: torch.Tensor, bits: int) -> Blocks:
    scale, least = scale.half(), least.half()
    factor = torch.where(scale == 0, 0.0, 1 / scale.float())
    q = ((x - least.float()[..., None]) * factor[..., None]).round_().clamp_(0, LEVELS[bits])
    return Blocks(q.to(torch.uint8), scale, least, bits)


def _is_exact(blocks: Blocks, x: torch.Tensor) -> bool:
    error = (blocks.floats().view_as(x) - x).abs().amax(-1)
    return bool((error <= CLOSE * x.abs().amax(-1)).all())
