"""The image codec: pixels to 32 codes and back, without randomness."""

from __future__ import annotations

import torch
from torch import Tensor

from anygpt_models.image_autoencoder import ImageAutoencoder
from anygpt_models.image_tokeniser import ImageTokeniser
from anygpt_models.part import Part, configured


class ImageCodec(Part):
    """Pixels [B, 3, 128, 128] in -1..1 <-> codes int64 [B, 32], each below 4,096."""

    @configured
    def __init__(
        self, levels: tuple[int, ...] = (8, 8, 8, 8), autoencoder_widths: tuple[int, int] = (64, 128),
        tokeniser_widths: tuple[int, int] = (64, 128), depth: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        self.autoencoder = ImageAutoencoder(autoencoder_widths)
        self.tokeniser = ImageTokeniser(tuple(levels), widths=tokeniser_widths, depth=depth)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels -> codes."""
        return self.tokeniser.encode(self.autoencoder.encode(pixels))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes -> pixels in -1..1."""
        return self.autoencoder.decode(self.tokeniser.decode(codes)).clamp(-1, 1)
