"""Building blocks that the codecs, recognisers and denoisers share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvBlock(nn.Module):
    """Residual pair of 3x3 convolutions without normalisation; starts as the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] -> the same shape."""
        y: Tensor = self.second(functional.gelu(self.first(functional.gelu(x))))
        return x + y


class Attention(nn.Module):
    """Multi-head attention without dropout; keys and values come from `memory`, or from the input itself.

    Written out, because the fused kernel's backward pass takes twice as long on a CPU at these lengths.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, N, width] attends to [B, M, width]; `mask` bool [B, 1, 1, M] keeps what is True."""
        key, value = self._split(self.key_value(x if memory is None else memory)).chunk(2, dim=1)
        query = self._split(self.query(x))
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        out: Tensor = self.out((scores.softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(2))
        return out

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        head = self.query.out_features // self.heads
        return x.view(batch, length, width // head, head).transpose(1, 2)


class TransformerBlock(nn.Module):
    """Pre-norm transformer layer: self-attention, cross-attention when it has a memory, feed-forward."""

    def __init__(self, width: int, heads: int, cross: bool = False) -> None:
        super().__init__()
        self.attend = nn.ModuleList([nn.LayerNorm(width), Attention(width, heads)])
        self.cross = nn.ModuleList([nn.LayerNorm(width), Attention(width, heads)]) if cross else None
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """[B, N, width] -> the same shape; `mask` says which positions of the input can be seen."""
        norm, attention = self.attend
        x = x + attention(norm(x), mask=mask)
        if self.cross is not None:
            norm, attention = self.cross
            x = x + attention(norm(x), memory)
        y: Tensor = self.feed(x)
        return x + y


def positions(length: int, width: int) -> nn.Parameter:
    """A learned embedding of positions, small at first."""
    return nn.Parameter(torch.randn(1, length, width) * 0.02)
