"""The audio codec: 5.12 s of sound to 130 codes and back, without randomness."""

from __future__ import annotations

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.fsq import FiniteScalarQuantiser
from anygpt_models.mel_net import MelNet
from anygpt_models.part import Part, configured
from anygpt_models.spectrogram import HOP, MELS, SAMPLE_RATE, log_mel

STRIDE = 5
"""Frames of one code step: 80 ms."""
STEPS = 64
FRAMES = STRIDE * STEPS
SAMPLES = FRAMES * HOP
PER_STEP = 2
"""Codes of the timbre, and of each step."""
LENGTH = PER_STEP * (1 + STEPS)
LEVELS = (8, 8, 8, 8)
"""Levels of the four digits of a code."""
TIMBRE = PER_STEP * len(LEVELS)
"""Numbers that tell a timbre."""
CONTENT = (160, 6)
"""Width and layers of the net that hears what is played."""
GRAIN = 16
"""Channels of noise that a decoder has for what flutters."""
SECONDS = SAMPLES / SAMPLE_RATE
QUIET = -6.0
"""Log mel amplitude below which nothing is kept: 70 dB under a loud tone."""
LOUDEST = 1.0
"""Log mel amplitude to which the loudest band of a clip is brought."""


class AudioCodec(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Log mels [B, 80, 320] <-> codes int64 [B, 130], each below 4,096: who plays, then what is played.

    The first two codes are the timbre of the whole clip. The others are its content, in order of time: the mel that
    no instrument in particular would give, by residual vector quantisation of the principal components of 80 ms: the
    first code of a step names the nearest entry of the first book, the second what is left of it. So whatever plays
    the same notes has the same codes but for two, and an instrument can play what it was never heard to play.
    """

    @configured
    def __init__(self, codes: int = 4096, components: int = 64, width: int = 160, layers: int = 6) -> None:
        super().__init__()
        self.mean = _table(STRIDE * MELS)
        self.basis = _table(STRIDE * MELS, components)
        self.books = _table(PER_STEP, codes, components)
        self.content = MelNet(*CONTENT)
        self.timbre = Timbre()
        self.decoder = MelNet(width, layers, TIMBRE, GRAIN)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Waveform [B, S] at 16 kHz, cut or filled with silence to 5.12 s -> codes int64 [B, 130]."""
        return self.encode_mel(log_mel(fitted(waveform)))

    @torch.no_grad()
    def encode_mel(self, mel: Tensor) -> Tensor:
        """Log mels [B, 80, 320] of any level -> codes int64 [B, 130]."""
        mel = levelled(mel)
        return torch.cat([self.timbre.codes(self.timbre(mel)), self.content_codes(self.content(mel))], dim=1)

    @torch.no_grad()
    def content_codes(self, content: Tensor) -> Tensor:
        """Content mels [B, 80, 5 n] -> codes int64 [B, 2 n]."""
        left = (patches(content) - self.mean) @ self.basis
        codes = []
        for book in self.books:
            codes.append(nearest(left.flatten(0, 1), book).view(left.shape[:2]))
            left = left - book[codes[-1]]
        return torch.stack(codes, dim=2).flatten(1)

    @torch.no_grad()
    def content_of(self, codes: Tensor) -> Tensor:
        """The inverse of `content_codes`, up to what the codes keep."""
        entries = [book[codes[:, index::PER_STEP]] for index, book in enumerate(self.books)]
        flat: Tensor = torch.stack(entries).sum(0) @ self.basis.T + self.mean
        return flat.view(*flat.shape[:2], MELS, STRIDE).permute(0, 2, 1, 3).flatten(2)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Codes [B, 2 + 2 n], n <= 64 steps of 80 ms -> log mels [B, 80, 5 n]."""
        content, timbre = self.content_of(codes[:, PER_STEP:]), self.timbre.lookup(codes[:, :PER_STEP])
        played: Tensor = self.decoder(content, timbre.to(content))
        return played.clamp(QUIET, LOUDEST)


class Timbre(nn.Module):
    """Log mels [B, 80, T] -> 8 numbers that tell who plays, whatever it is."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.quantiser = FiniteScalarQuantiser(LEVELS)
        self.trunk = nn.Sequential(
            nn.Conv1d(MELS, width, 5, stride=2),
            nn.GELU(),
            nn.Conv1d(width, width, 5, stride=2),
            nn.GELU(),
        )
        self.out = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, TIMBRE))

    def forward(self, mel: Tensor) -> Tensor:
        """Log mels of at least 16 frames -> 8 numbers, not yet rounded."""
        x = self.trunk(mel / 2.0 + 1.0)
        told: Tensor = self.out(torch.cat([x.mean(2), x.amax(2)], dim=1))
        return told

    def rounded(self, told: Tensor) -> Tensor:
        """Numbers [B, 8] -> those in -1..1 that codes can tell; gradients pass."""
        rounded: Tensor = self.quantiser(told.unflatten(1, (PER_STEP, -1)))
        return rounded.flatten(1)

    def codes(self, told: Tensor) -> Tensor:
        """Numbers [B, 8] -> codes int64 [B, 2]."""
        return self.quantiser.codes(told.unflatten(1, (PER_STEP, -1)))

    def lookup(self, codes: Tensor) -> Tensor:
        """Codes [B, 2] -> numbers [B, 8] in -1..1."""
        return self.quantiser.lookup(codes).flatten(1)


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
