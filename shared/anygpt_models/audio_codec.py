"""The audio codec: 5.12 s of sound to 128 codes and back, without randomness."""

from __future__ import annotations

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.part import Part, configured
from anygpt_models.spectrogram import HOP, MELS, SAMPLE_RATE, log_mel

STRIDE = 5
"""Frames of one code step: 80 ms."""
STEPS = 64
FRAMES = STRIDE * STEPS
SAMPLES = FRAMES * HOP
PER_STEP = 2
"""Codes of one step; codes 2 k and 2 k + 1 belong to step k."""
SECONDS = SAMPLES / SAMPLE_RATE
QUIET = -6.0
"""Log mel amplitude below which nothing is kept: 70 dB under a loud tone."""
LOUDEST = 1.0
"""Log mel amplitude to which the loudest band of a clip is brought."""


class AudioCodec(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Log mels [B, 80, 320] <-> codes int64 [B, 128], each below 4,096, in order of time.

    Residual vector quantisation of the principal components of 80 ms of mel: the first code of a step names the
    nearest entry of the first book, the second what is left of it. A code means the same wherever it stands.
    """

    @configured
    def __init__(self, codes: int = 4096, components: int = 64) -> None:
        super().__init__()
        self.mean = _table(STRIDE * MELS)
        self.basis = _table(STRIDE * MELS, components)
        self.books = _table(PER_STEP, codes, components)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform [B, S] at 16 kHz, cut or filled with silence to 5.12 s -> codes int64 [B, 128]."""
        return self.encode_mel(log_mel(fitted(waveform)))

    @torch.no_grad()
    def encode_mel(self, mel: Tensor) -> Tensor:
        """Log mels [B, 80, 320] of any level -> codes int64 [B, 128]."""
        left = (patches(levelled(mel)) - self.mean) @ self.basis
        codes = []
        for book in self.books:
            codes.append(nearest(left.flatten(0, 1), book).view(left.shape[:2]))
            left = left - book[codes[-1]]
        return torch.stack(codes, dim=2).flatten(1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, 2 n], n <= 64 steps of 80 ms -> log mels [B, 80, 5 n]."""
        entries = [book[codes[:, index::PER_STEP]] for index, book in enumerate(self.books)]
        flat: Tensor = torch.stack(entries).sum(0) @ self.basis.T + self.mean
        return flat.view(*flat.shape[:2], MELS, STRIDE).permute(0, 2, 1, 3).flatten(2)


def patches(mel: Tensor) -> Tensor:
    """Log mels [B, 80, 5 n] -> steps [B, n, 400]."""
    return mel.reshape(*mel.shape[:2], -1, STRIDE).permute(0, 2, 1, 3).flatten(2)


def nearest(points: Tensor, book: Tensor) -> Tensor:
    """Index int64 [N] of the entry of a book [codes, D] that is nearest to each point [N, D]."""
    half_norms = book.square().sum(1) / 2
    return torch.cat([(some @ book.T - half_norms).argmax(1) for some in points.split(8192)])


def fitted(waveform: Tensor) -> Tensor:
    """The first 5.12 s of a waveform [..., S], filled with silence when it is shorter."""
    kept = waveform[..., :SAMPLES]
    return functional.pad(kept, (0, SAMPLES - kept.shape[-1]))


def levelled(mel: Tensor) -> Tensor:
    """Log mels [B, 80, T] at one level, without what nobody hears; silence stays silent."""
    loudest = mel.amax(dim=(1, 2), keepdim=True)
    return torch.where(loudest > QUIET, mel + LOUDEST - loudest, mel).clamp(min=QUIET)


def _table(*shape: int) -> nn.Parameter:
    """Numbers that are counted rather than learned by gradients."""
    return nn.Parameter(torch.zeros(shape), requires_grad=False)
