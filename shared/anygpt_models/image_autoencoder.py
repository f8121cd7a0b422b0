"""Pixels to a small continuous latent image, and back to a thing that can stand before any backdrop."""

from __future__ import annotations

from torch import Tensor, nn

from anygpt_models.blocks import ConvBlock


class ImageAutoencoder(nn.Module):
    """Pixels [B, 3, 128, 128] in -1..1 -> latents [B, 4, 16, 16] -> layers [B, 4, 128, 128].

    Layers are the thing's colours (2 x premultiplied - 1) and how much it covers (0..1).
    """

    def __init__(self, widths: tuple[int, int] = (64, 128), latent_channels: int = 4, depth: int = 2) -> None:
        super().__init__()
        fine, coarse = widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, fine, 3, padding=1),
            ConvBlock(fine),
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1),
            ConvBlock(coarse),
            nn.Conv2d(coarse, latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            ConvBlock(coarse),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
            *(ConvBlock(fine) for _ in range(depth)),
            nn.Conv2d(fine, 64, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels -> latents."""
        latents: Tensor = self.encoder(pixels)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> layers, not clamped."""
        layers: Tensor = self.decoder(latents)
        return layers


def over(layers: Tensor, backdrop: Tensor) -> Tensor:
    """Layers before plain backdrops [B, 3] in -1..1: pixels [B, 3, H, W], not clamped."""
    return layers[:, :3] + (1 - layers[:, 3:]) * (backdrop[:, :, None, None] + 1)
