"""A net from log mels to log mels, told something or not: dilated convolutions in time over all bands at once."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.spectrogram import MELS

LONGEST = 2048
"""Frames of noise that there are."""


class MelNet(nn.Module):
    """Log mels [B, 80, T] and what it is told [B, `told`] -> log mels [B, 80, T]; at first it changes nothing.

    Each layer is scaled and shifted by what is told (FiLM, Perez et al. 2018, arXiv:1709.07871). With `grain`, so many
    channels of noise, the same in each frame at every call, are there to make what flutters of.
    """

    def __init__(self, width: int, layers: int, told: int = 0, grain: int = 0) -> None:
        super().__init__()
        self.grain = grain
        self.stem = nn.Conv1d(MELS + grain, width, 3, padding=1)
        self.layers = nn.ModuleList([_Layer(width, 2**number, told) for number in range(layers)])
        self.head = nn.Conv1d(width, MELS, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, mel: Tensor, told: Tensor | None = None, start: int = 0) -> Tensor:
        """Log mels -> log mels of the same shape; the first frame is number `start` of its clip."""
        x = mel / 4.0 + 0.5
        if self.grain:
            noise = _noise(self.grain)[:, start : start + mel.shape[-1]].to(mel)
            x = torch.cat([x, noise.expand(len(mel), -1, -1)], dim=1)
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x, told)
        changed: Tensor = mel + self.head(functional.gelu(x))
        return changed


@cache
@torch.inference_mode(mode=False)  # what is kept may be trained through later
def _noise(channels: int) -> Tensor:
    """Noise [channels, LONGEST] in the processors' memory, the same at every call and on every device."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(channels, LONGEST, generator=generator, device=generator.device)


class _Layer(nn.Module):
    def __init__(self, width: int, dilation: int, told: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.conv = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.film = nn.Linear(told, 2 * width) if told else None

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        y = self.norm(x)
        if self.film is not None:
            scale, shift = self.film(told)[..., None].chunk(2, dim=1)
            y = y * (1 + scale) + shift
        out: Tensor = x + self.conv(functional.gelu(y))
        return out
