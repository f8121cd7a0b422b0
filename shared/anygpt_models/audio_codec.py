"""The audio codec: 5.12 s of log mels to 128 codes and back, without randomness."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.blocks import TransformerBlock, positions
from anygpt_models.fsq import FiniteScalarQuantiser
from anygpt_models.spectrogram import HOP, MELS, SAMPLE_RATE, log_mel

STRIDE = 5
"""Frames of one code step: 80 ms."""
STEPS = 64
FRAMES = STRIDE * STEPS
SAMPLES = FRAMES * HOP
PER_STEP = 2
"""Codes of one step; code 2 k and code 2 k + 1 belong to step k."""
SECONDS = SAMPLES / SAMPLE_RATE
QUIET = -6.0
"""Log mel amplitude below which nothing is kept: 70 dB under a loud tone."""


class AudioCodec(ModelMixin, ConfigMixin):
    """Log mels [B, 80, 320] <-> codes int64 [B, 128], each below 4,096, in order of time.

    The encoder sees a third of a second around each step, so that a code means the same wherever it stands; the
    decoder sees the whole clip.
    """

    @register_to_config
    def __init__(
        self, levels: tuple[int, ...] = (8, 8, 8, 8), width: int = 128, frame_width: int = 96, depth: int = 2
    ) -> None:
        super().__init__()
        self.quantiser = FiniteScalarQuantiser(tuple(levels))
        self.down = nn.Sequential(
            nn.Conv1d(MELS, frame_width, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(frame_width, width, STRIDE, stride=STRIDE),
            _TimeBlock(width, 3),
            _TimeBlock(width, 3),
        )
        self.to_levels = nn.Linear(width, PER_STEP * len(levels))
        self.from_levels = nn.Linear(PER_STEP * len(levels), width)
        self.near = _TimeBlock(width, 3)
        self.places = positions(STEPS, width)
        self.mix = nn.ModuleList([TransformerBlock(width, width // 32) for _ in range(depth)])
        self.up = nn.ConvTranspose1d(width, frame_width, STRIDE, stride=STRIDE)
        self.fine = nn.Sequential(
            _TimeBlock(frame_width, 5), _TimeBlock(frame_width, 5), nn.Conv1d(frame_width, MELS, 3, padding=1)
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Log mels -> log mels, through the codes; gradients pass."""
        return self.synthesise(self.quantiser(self.analyse(mel)))

    def analyse(self, mel: Tensor) -> Tensor:
        """Log mels [B, 80, 320] -> vectors [B, 128, D] before quantisation."""
        hidden = self.down(_scaled(mel)).transpose(1, 2)
        vectors: Tensor = self.to_levels(hidden)
        return vectors.unflatten(2, (PER_STEP, -1)).flatten(1, 2)

    def synthesise(self, values: Tensor) -> Tensor:
        """Grid values [B, 128, D] -> log mels [B, 80, 320]."""
        steps = values.unflatten(1, (STEPS, PER_STEP)).flatten(2)
        x = self.near(self.from_levels(steps.to(self.places.dtype)).transpose(1, 2)).transpose(1, 2) + self.places
        for block in self.mix:
            x = block(x)
        mel: Tensor = self.fine(self.up(x.transpose(1, 2)))
        return mel * 2.0 - 2.0

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform [B, S] at 16 kHz, cut or filled with silence to 5.12 s -> codes int64 [B, 128]."""
        return self.encode_mel(log_mel(fitted(waveform)))

    @torch.no_grad()
    def encode_mel(self, mel: Tensor) -> Tensor:
        """Log mels [B, 80, 320] -> codes int64 [B, 128]."""
        return self.quantiser.codes(self.analyse(mel).float())

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, 128] -> log mels [B, 80, 320]."""
        return self.synthesise(self.quantiser.lookup(codes)).float()


class _TimeBlock(nn.Module):
    """Residual convolution over time; without normalisation, so that what is far away changes nothing."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, T] -> the same shape."""
        y: Tensor = self.conv(functional.gelu(x))
        return x + y


def fitted(waveform: Tensor) -> Tensor:
    """The first 5.12 s of a waveform [..., S], filled with silence when it is shorter."""
    kept = waveform[..., :SAMPLES]
    return functional.pad(kept, (0, SAMPLES - kept.shape[-1]))


def audible(mel: Tensor) -> Tensor:
    """Log mels without what nobody hears."""
    return mel.clamp(min=QUIET)


def _scaled(mel: Tensor) -> Tensor:
    return audible(mel) / 2.0 + 1.0
