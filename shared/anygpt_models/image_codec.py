"""The image codec: pixels to 32 codes and back, without randomness."""

from __future__ import annotations

import torch
from torch import Tensor

from anygpt_models.backdrop import border_colour
from anygpt_models.image_autoencoder import ImageAutoencoder, over
from anygpt_models.image_tokeniser import ImageTokeniser
from anygpt_models.part import Part, configured

SHADES = 16


class ImageCodec(Part):
    """Pixels [B, 3, 128, 128] in -1..1 <-> codes int64 [B, 32], each below 4,096.

    31 codes tell the thing; the last one tells the colour of the backdrop, 16 shades a channel, so that a thing
    keeps its codes when it is drawn before another backdrop.
    """

    @configured
    def __init__(
        self,
        levels: tuple[int, ...] = (8, 8, 8, 8),
        autoencoder_widths: tuple[int, int] = (64, 128),
        tokeniser_widths: tuple[int, int] = (64, 128),
        depth: int = 3,
    ) -> None:
        super().__init__()
        self.autoencoder = ImageAutoencoder(autoencoder_widths)
        self.tokeniser = ImageTokeniser(tuple(levels), widths=tokeniser_widths, depth=depth)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels -> codes; the backdrop is the median colour of the border."""
        codes = self.tokeniser.encode(self.autoencoder.encode(pixels))
        return with_backdrop(codes, border_colour(pixels))

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes -> pixels in -1..1."""
        layers = self.layers(self.tokeniser.quantiser.lookup(codes))
        return over(layers, backdrop_of(codes)).clamp(-1, 1)

    def layers(self, values: Tensor) -> Tensor:
        """Grid values [B, 32, D] -> layers [B, 4, 128, 128]; what the last code says of the tokeniser is ignored."""
        thing = torch.cat([values[:, :-1], torch.zeros_like(values[:, -1:])], dim=1)
        return self.autoencoder.decode(self.tokeniser.synthesise(thing.to(self.tokeniser.places_out.dtype)))


def with_backdrop(codes: Tensor, backdrop: Tensor) -> Tensor:
    """The same things before backdrops [B, 3] in -1..1."""
    shades = ((backdrop.float() + 1) / 2 * (SHADES - 1)).round().long().clamp(0, SHADES - 1)
    place = torch.tensor([1, SHADES, SHADES**2], device=codes.device)
    return torch.cat([codes[:, :-1], (shades * place).sum(1, keepdim=True)], dim=1)


def backdrop_of(codes: Tensor) -> Tensor:
    """The colours [B, 3] in -1..1 of the backdrops."""
    shades = torch.stack([codes[:, -1] // SHADES**power % SHADES for power in range(3)], dim=1)
    return shades.float() / (SHADES - 1) * 2 - 1
