"""The model in plain torch: on any device, in any number format; with fixed shapes in deterministic mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from services.llm.model.cache import Cache
from services.llm.model.llama import Llama
from services.llm.model.packing import FixedPacking, Packing
from services.llm.model.updates import Adapter, Updates
from services.llm.model.weights import Weights
from services.llm.step import Choice, Feed


@dataclass(frozen=True, slots=True)
class Options:
    """How the torch model is run."""

    pages: int
    rows: int
    """Most positions of a step."""
    dtype: torch.dtype
    device: torch.device
    deterministic: bool
    bits: int = 0
    """Of the matrices, 8 or 4; 0: they are as they are."""


class Eager:
    """A network of torch operations, the pack's adapter merged into its weights, others live beside them."""

    def __init__(self, weights: Weights, adapters: Mapping[str, Adapter], options: Options) -> None:
        dtype, device = options.dtype, options.device
        self._cache = Cache(weights.sizes, options.pages, dtype, device)
        self._llama = Llama(weights, dtype, device, options.bits)
        packing = FixedPacking if options.deterministic else Packing
        self._packing: Packing = packing(self._cache, options.rows, dtype, device)
        self._adapters = {
            name: Updates(adapter, weights.sizes, dtype, device) for name, adapter in adapters.items()
        }

    @property
    def shapes(self) -> list[int]:
        """All row counts that a step can have."""
        return self._packing.shapes

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Input embeddings [N, hidden]."""
        return self._llama.embedding[torch.tensor(ids, device=self._llama.embedding.device)]

    def forward(self, embeddings: torch.Tensor, feeds: Sequence[Feed]) -> torch.Tensor:
        """Final-norm hidden states [N, hidden] of all positions that are fed."""
        for feed in feeds:
            if feed.copy:
                self._cache.copy(*feed.copy)
        rows = self._packing.pack(feeds, self._adapters)
        return self._llama.forward(_padded(embeddings, len(rows.positions)), rows, self._cache)[
            : len(embeddings)
        ]

    def logits(self, hidden: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
        """Float32 logits [n, vocabulary] of hidden states [n, hidden]."""
        return self._llama.logits(_padded(hidden, self._packing.shape(len(hidden))))[: len(hidden)]


def _padded(x: torch.Tensor, rows: int) -> torch.Tensor:
    return F.pad(x, (0, 0, 0, rows - len(x))) if rows > len(x) else x
