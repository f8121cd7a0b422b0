"""The side of SEED-2 that decodes (Ge et al. 2023, arXiv 2310.01218): 32 codes -> CLIP's embedding of a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.part import Part, configured


class SeedDetokeniser(Part):
    """Codebook, four transformer blocks, a narrowing network for each code, one linear layer over all of them."""

    @configured
    def __init__(
        self, codebook: int = 8192, length: int = 32, width: int = 768, layers: int = 4, out_width: int = 1024
    ) -> None:
        super().__init__()
        narrow = 32
        self.codes = nn.Embedding(codebook, narrow)
        self.lift = nn.Linear(narrow, width)
        self.places = nn.Parameter(torch.randn(1, length, width) * 0.02)
        heads = max(1, width // 64)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.narrow = nn.Sequential(
            nn.Linear(width, width // 3),
            nn.GELU(),
            nn.Linear(width // 3, 128),
            nn.GELU(),
            nn.Linear(128, narrow),
        )
        self.out = nn.Linear(narrow * length, out_width)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes [B, length] -> embedding [B, out_width]."""
        told = self.blocks(self.lift(self.codes(codes)) + self.places)
        embedding: Tensor = self.out(self.narrow(told).flatten(1))
        return embedding
