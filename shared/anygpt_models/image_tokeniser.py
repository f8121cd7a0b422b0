"""A small latent image to 32 discrete codes and back."""

from __future__ import annotations

from torch import Tensor, nn

from anygpt_models.blocks import ConvBlock, TransformerBlock, positions
from anygpt_models.fsq import FiniteScalarQuantiser

GRID = 4
PER_CELL = 2


class ImageTokeniser(nn.Module):
    """Latents [B, 4, 16, 16] <-> codes [B, 32]: convolutions to a 4x4 grid, two codes a cell, which see each other."""

    def __init__(
        self,
        levels: tuple[int, ...] = (8, 8, 8, 8),
        channels: int = 4,
        widths: tuple[int, int] = (64, 128),
        depth: int = 3,
    ) -> None:
        super().__init__()
        fine, width = widths
        self.quantiser = FiniteScalarQuantiser(tuple(levels))
        self.down = nn.Sequential(
            nn.Conv2d(channels, fine, 3, padding=1),
            ConvBlock(fine),
            nn.Conv2d(fine, width, 4, stride=2, padding=1),
            ConvBlock(width),
            nn.Conv2d(width, PER_CELL * width, 2, stride=2),
        )
        self.up = nn.Sequential(
            nn.Conv2d(PER_CELL * width, 4 * width, 1),
            nn.PixelShuffle(2),
            ConvBlock(width),
            nn.Conv2d(width, 4 * fine, 1),
            nn.PixelShuffle(2),
            ConvBlock(fine),
            ConvBlock(fine),
            nn.Conv2d(fine, channels, 3, padding=1),
        )
        self.places_in, self.places_out = positions(32, width), positions(32, width)
        self.mix_in = nn.ModuleList([TransformerBlock(width, width // 32) for _ in range(depth - 1)])
        self.mix_out = nn.ModuleList([TransformerBlock(width, width // 32) for _ in range(depth)])
        self.to_levels = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(levels)))
        self.from_levels = nn.Linear(len(levels), width)

    def analyse(self, latents: Tensor) -> Tensor:
        """Latents -> vectors [B, 32, D] before quantisation."""
        cells = self.down(latents).flatten(2).transpose(1, 2)
        x = cells.unflatten(2, (PER_CELL, -1)).flatten(1, 2) + self.places_in
        for block in self.mix_in:
            x = block(x)
        vectors: Tensor = self.to_levels(x)
        return vectors

    def synthesise(self, values: Tensor) -> Tensor:
        """Grid values [B, 32, D] -> latents."""
        x = self.from_levels(values) + self.places_out
        for block in self.mix_out:
            x = block(x)
        cells = x.unflatten(1, (GRID * GRID, PER_CELL)).flatten(2).transpose(1, 2)
        latents: Tensor = self.up(cells.unflatten(2, (GRID, GRID)))
        return latents

    def forward(self, latents: Tensor) -> Tensor:
        """Latents -> latents, through the codes; gradients pass."""
        return self.synthesise(self.quantiser(self.analyse(latents)))

    def encode(self, latents: Tensor) -> Tensor:
        """Latents -> codes int64 [B, 32]."""
        return self.quantiser.codes(self.analyse(latents).float())

    def decode(self, codes: Tensor) -> Tensor:
        """Codes -> latents."""
        return self.synthesise(self.quantiser.lookup(codes).to(self.places_out.dtype))
