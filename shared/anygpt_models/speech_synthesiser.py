"""Speech synthesiser: phonemes of a phrase -> durations -> log mel, in one of a few voices.

Non-autoregressive with explicit durations, as FastSpeech 2 (Ren et al. 2020, arXiv 2006.04558); convolutions
at frame rate, so that a phrase costs the same wherever it stands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anygpt_models.part import Part, configured
from anygpt_models.spectrogram import HOP, MELS, SAMPLE_RATE
from anygpt_models.speech_blocks import NearConv, SpeechBlock, feed_forward

FRAMES_PER_S = SAMPLE_RATE / HOP
CENTRE, SCALE = -5.0, 2.5
"""Log mels are learned around 0: (mel - CENTRE) / SCALE."""
RHYTHM = 0.04
"""Spread of the random lengthening of phonemes, in natural log units."""


class SpeechSynthesiser(Part):
    """Phonemes [B, N] and their frames [B, N] -> (log mels [B, 80, T], log(1 + frames) as predicted [B, N])."""

    @configured
    def __init__(
        self,
        symbols: list[str],
        voices: list[str],
        width: int = 128,
        layers: int = 3,
        decoder_layers: int = 4,
    ) -> None:
        super().__init__()
        self.symbols, self.voices = list(symbols), list(voices)
        self.embed = nn.Embedding(len(symbols) + 1, width, padding_idx=0)
        self.voice = nn.Embedding(len(voices), width)
        self.encoder = nn.ModuleList(SpeechBlock(width, 4, 5) for _ in range(layers))
        self.duration = nn.Sequential(
            NearConv(width, 5), NearConv(width, 5), nn.LayerNorm(width), nn.Linear(width, 1)
        )
        inner = width * 3 // 2
        self.place = nn.Linear(width + _PLACES, inner)
        self.decoder = nn.ModuleList(_FrameBlock(inner, dilation) for dilation in _dilations(decoder_layers))
        self.head = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, MELS))

    def forward(self, symbols: Tensor, voice: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """See the class; symbol 0 is padding and `voice` is [B]."""
        x, keep = self.encode(symbols, voice)
        return self.decode(x, frames), self.log_frames(x, keep)

    def encode(self, symbols: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        """Phonemes [B, N] in context [B, N, width], and 0 at padding [B, N, 1]."""
        keep = (symbols > 0).float()[..., None]
        x = self.embed(symbols) + self.voice(voice)[:, None]
        for block in self.encoder:
            x = block(x, keep)
        return x * keep, keep

    def log_frames(self, x: Tensor, keep: Tensor) -> Tensor:
        """log(1 + duration in frames) of each phoneme, [B, N]."""
        # Durations must not shape the encoder: their error is of another size than the mel's.
        predicted: Tensor = self.duration(x.detach() * 0.9 + x * 0.1)
        return (predicted * keep).squeeze(-1).float()

    def decode(self, x: Tensor, frames: Tensor) -> Tensor:
        """Phonemes in context, whole frames of each [B, N] -> log mels [B, 80, T]."""
        spread, keep = spread_over_frames(x, frames)
        y = self.place(spread)
        for block in self.decoder:
            y = block(y, keep)
        mel: Tensor = self.head(y).float() * SCALE + CENTRE
        return mel.transpose(1, 2)

    @torch.inference_mode()
    def speak(self, symbols: list[str], voice: str, generator: torch.Generator) -> Tensor:
        """Phonemes of one phrase -> log mel [80, T]; the generator varies the rhythm a little."""
        known = [self.symbols.index(symbol) + 1 for symbol in symbols if symbol in self.symbols]
        ids = torch.tensor([known], dtype=torch.long)
        x, keep = self.encode(ids, torch.tensor([self.voices.index(voice)]))
        noise = torch.randn(ids.shape, generator=generator) * RHYTHM
        lengths = torch.expm1(self.log_frames(x, keep)).clamp(min=0.0, max=2 * FRAMES_PER_S) * noise.exp()
        return self.decode(x, whole_frames(lengths))[0]


class _FrameBlock(nn.Module):
    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.conv = NearConv(width, 7, dilation)
        self.feed = feed_forward(width, 2 * width)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        x = self.conv(x, keep)
        out: Tensor = x + self.feed(x)
        return out


def whole_frames(lengths: Tensor) -> Tensor:
    """Durations in frames, any real [B, N] -> whole ones whose running sum stays nearest."""
    ends = lengths.cumsum(dim=-1).round().long()
    return ends.diff(dim=-1, prepend=torch.zeros_like(ends[:, :1]))


_PLACES = 3


def spread_over_frames(x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """[B, N, width], frames [B, N] -> [B, T, width + 3] with the place in the phoneme, and 0 at padding [B, T, 1]."""
    ends = frames.cumsum(dim=-1)
    time = torch.arange(max(1, int(ends[:, -1].max())), device=x.device)
    owner = torch.searchsorted(ends, time.expand(len(x), -1).contiguous(), right=True).clamp(
        max=x.shape[1] - 1
    )
    length = frames.gather(1, owner).clamp(min=1)
    behind = (time[None] - (ends - frames).gather(1, owner)).float() + 0.5
    share = (behind / length).clamp(max=1.0)
    places = torch.stack([share, (behind / 8).clamp(max=2.0), length.float().log1p() / 2], dim=-1)
    keep = (time[None] < ends[:, -1:]).float()[..., None]
    spread = x.gather(1, owner[..., None].expand(-1, -1, x.shape[-1]))
    return torch.cat([spread, places.to(spread)], dim=-1) * keep, keep


def _dilations(count: int) -> list[int]:
    return [(1, 2, 4)[layer % 3] for layer in range(count)]
