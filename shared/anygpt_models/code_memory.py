"""A memory of whole code sequences, for worlds small enough to be known by heart."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

SURE = 4.0
"""Log-odds of a remembered digit before training."""


class CodeMemory(nn.Module):
    """A mixture over slots, each a distribution over every digit: the condition points, seen codes confirm.

    Its posterior keeps a sample coherent: once a few codes are drawn, the others come from the same slot.
    """

    def __init__(self, slots: int, length: int, levels: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.levels = levels
        self.keys = nn.Parameter(torch.randn(slots, width) * 0.3)
        self.digits = nn.Parameter(torch.zeros(slots, length, sum(levels)))

    def forward(self, digits: Tensor, masked: Tensor, query: Tensor) -> Tensor:
        """Digits [B, L, D], masked [B, L], query [B, width] -> log-probabilities [B, L, sum of levels]."""
        with torch.autocast(query.device.type, enabled=False):
            known = torch.cat(
                [part.log_softmax(-1) for part in self.digits.float().split(self.levels, dim=-1)], dim=-1
            )
            seen = self._one_hot(digits) * ~masked[..., None]
            slot = query.float() @ self.keys.float().T + seen.flatten(1) @ known.flatten(1).T
            mixed = slot.softmax(-1) @ known.exp().flatten(1)
            recalled: Tensor = mixed.clamp(min=1e-6).log().unflatten(1, known.shape[1:])
            return recalled

    def remember(self, digits: Tensor, told: Tensor) -> None:
        """Start from digits [slots, L, D]; positions [L] that are not told stay open."""
        self.digits.data = SURE * self._one_hot(digits) * told[:, None]

    def _one_hot(self, digits: Tensor) -> Tensor:
        parts = [functional.one_hot(digits[..., index], level) for index, level in enumerate(self.levels)]
        return torch.cat(parts, dim=-1).float()
