"""From log mels to sound: a small net restores the linear magnitude, fast Griffin-Lim restores the phase."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from anygpt_models.part import Part, configured
from anygpt_models.spectrogram import BINS, FLOOR, MELS, griffin_lim, mel_filters


class Vocoder(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Log mels [..., 80, T] to a waveform [..., T * 256] at 16 kHz; a function of its input alone."""

    @configured
    def __init__(self, channels: int = 192, blocks: int = 2, iterations: int = 24) -> None:
        super().__init__()
        self.stem = nn.Conv1d(MELS, channels, 3, padding=1)
        self.layers = nn.ModuleList(nn.Conv1d(channels, channels, 3, padding=1) for _ in range(blocks))
        self.norms = nn.ModuleList(nn.GroupNorm(1, channels) for _ in range(blocks))
        self.head = nn.Conv1d(channels, BINS, 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, mel: Tensor) -> Tensor:
        """Waveform [..., T * 256] of log mels [..., 80, T]."""
        return griffin_lim(self.linear(mel), self.setting("iterations"))

    def linear(self, mel: Tensor) -> Tensor:
        """Linear magnitude [..., 513, T] of log mels [..., 80, T]."""
        flat = mel.reshape(-1, *mel.shape[-2:])
        hidden = F.gelu(self.stem(flat / 4.0 + 1.5))
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = hidden + F.gelu(layer(norm(hidden)))
        log = (self.head(hidden) + _spread(flat)).clamp(max=6.0)
        linear: Tensor = log.float().exp()
        return linear.reshape(*mel.shape[:-2], BINS, mel.shape[-1])


def _spread(mel: Tensor) -> Tensor:
    """Log magnitude [B, 513, T] with each band spread over its own bins: where the net starts from."""
    filters = mel_filters().to(mel)
    spread = filters.T / filters.sum(dim=1) / (filters.T.sum(dim=1, keepdim=True) + FLOOR)
    return torch.log(spread @ mel.exp() + FLOOR)
