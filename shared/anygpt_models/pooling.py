"""Several clips of one recording as one (NExT-GPT, arXiv 2309.05519: the mean over clips)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pooled(features: Tensor) -> Tensor:
    """Features [B, C, n, width] of C clips -> their mean [B, n, width], each vector of unit variance again."""
    if features.shape[1] == 1:
        return features[:, 0]
    return functional.layer_norm(features.mean(1), features.shape[-1:])
