"""Pixels to a small continuous latent image and back."""

from __future__ import annotations

from torch import Tensor, nn

from anygpt_models.blocks import ConvBlock


class ImageAutoencoder(nn.Module):
    """Convolutional autoencoder: pixels [B, 3, 128, 128] in -1..1 <-> latents [B, 4, 16, 16], about unit variance."""

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
            nn.Conv2d(fine, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels -> latents."""
        latents: Tensor = self.encoder(pixels)
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> pixels, not clamped."""
        pixels: Tensor = self.decoder(latents)
        return pixels
