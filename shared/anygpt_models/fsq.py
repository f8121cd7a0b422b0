"""Finite scalar quantisation (Mentzer et al. 2023, arXiv:2309.15505): a code book that cannot collapse."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class FiniteScalarQuantiser(nn.Module):
    """Rounds each of a few bounded dimensions to its levels; a code is the mixed-radix number of the levels."""

    place: Tensor

    def __init__(self, levels: tuple[int, ...]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        places = [math.prod(self.levels[:index]) for index in range(len(self.levels))]
        self.register_buffer("place", torch.tensor(places), persistent=False)

    @property
    def size(self) -> int:
        """Number of codes."""
        return math.prod(self.levels)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] any floats -> grid values in -1..1; gradients pass through the rounding."""
        return self.values(self._indices(x)) + self._bounded(x) - self._bounded(x).detach()

    def codes(self, x: Tensor) -> Tensor:
        """[..., D] -> code int64 [...]."""
        return (self._indices(x) * self.place).sum(-1)

    def digits(self, codes: Tensor) -> Tensor:
        """Code [...] -> its level in each dimension, int64 [..., D]."""
        return torch.stack([codes // self.place[i] % n for i, n in enumerate(self.levels)], dim=-1)

    def from_digits(self, digits: Tensor) -> Tensor:
        """Levels [..., D] -> code [...]."""
        return (digits * self.place).sum(-1)

    def values(self, digits: Tensor) -> Tensor:
        """Levels [..., D] -> grid values in -1..1."""
        return digits / ((self._counts(digits.device) - 1) / 2) - 1

    def lookup(self, codes: Tensor) -> Tensor:
        """Code [...] -> grid values [..., D]."""
        return self.values(self.digits(codes))

    def _bounded(self, x: Tensor) -> Tensor:
        return torch.tanh(x.float())

    def _indices(self, x: Tensor) -> Tensor:
        return torch.round((self._bounded(x) + 1) * (self._counts(x.device) - 1) / 2).long()

    def _counts(self, device: torch.device) -> Tensor:
        return torch.tensor(self.levels, device=device)
