"""Speech recogniser: log mel -> phonemes, and letters, by CTC (Graves et al. 2006), for speech of any length.

Phonemes are learned in a tenth of the steps that English spelling takes; letters are for words that no lexicon
has. The trunk runs at a quarter of the mel rate (15.6 a second); each head emits two symbols a step, because
people say up to 20 letters a second.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.part import Part, configured
from anygpt_models.spectrogram import HOP, MELS, SAMPLE_RATE, log_mel
from anygpt_models.speech_blocks import SpeechBlock
from anygpt_models.speech_text import ALPHABET

BLANK = 0
STRIDE = 4
SYMBOLS_PER_STEP = 2
GAP = " "
"""The phoneme between two words, if it can be called one."""
WINDOW_S, MARGIN_S = 12, 1
_QUIET = -6.0
"""Mels below this are as good as silence once the waveform's loudness is brought to `_LOUDNESS`."""
_LOUDNESS = 0.1


class Likelihoods(NamedTuple):
    """Log probabilities [..., N, 1 + symbols] at each step, the blank before the symbols."""

    phonemes: Tensor
    letters: Tensor


class SpeechRecogniser(Part):
    """Log mels [B, 80, T] -> `Likelihoods` of 2 * ceil(T / 4) steps: `phonemes`, a character each, and `ALPHABET`."""

    @configured
    def __init__(
        self, phonemes: str, width: int = 144, layers: int = 6, heads: int = 4, kernel: int = 15
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(MELS, width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2), nn.GELU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(SpeechBlock(width, heads, kernel) for _ in range(layers))
        self.phonemes, self.letters = _head(width, len(phonemes)), _head(width, len(ALPHABET))

    def forward(self, mel: Tensor, lengths: Tensor | None = None) -> Likelihoods:
        """See the class; `lengths` [B] counts the mel frames that are real."""
        return self.named(self.trunk(mel, lengths))

    def trunk(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log mels [B, 80, T] -> what is heard [B, ceil(T / 4), width]."""
        mask = None if lengths is None else self._kept(lengths, mel.shape[-1])
        centred = _centred(mel, mask)
        x: Tensor = self.stem(centred).transpose(1, 2)
        keep = None if mask is None else mask[:, :, ::STRIDE].transpose(1, 2)[:, : x.shape[1]]
        for block in self.blocks:
            x = block(x, keep)
        return x

    def named(self, x: Tensor) -> Likelihoods:
        """Output of the trunk -> what it may be, two steps for each of its own."""
        return Likelihoods(_per_step(self.phonemes(x)), _per_step(self.letters(x)))

    @torch.inference_mode()
    def listen(self, waveform: Tensor) -> Likelihoods:
        """Waveform [S] at 16 kHz -> rows [N, ...], 31.25 a second; a long one in windows that overlap."""
        if not len(waveform):
            return Likelihoods(waveform.new_zeros(0, 0), waveform.new_zeros(0, 0))
        mel = log_mel(levelled(waveform.float()))
        window, margin = (seconds * SAMPLE_RATE // HOP // STRIDE * STRIDE for seconds in (WINDOW_S, MARGIN_S))
        pieces = []
        for start in range(0, mel.shape[-1], window):
            left = min(start, margin)
            heard = self(mel[None, :, start - left : start + window + margin])
            kept = slice(SYMBOLS_PER_STEP * left // STRIDE, SYMBOLS_PER_STEP * (left + window) // STRIDE)
            pieces.append([rows[0, kept] for rows in heard])
        phonemes, letters = (torch.cat(rows) for rows in zip(*pieces, strict=True))
        return Likelihoods(phonemes, letters)

    @staticmethod
    def _kept(lengths: Tensor, frames: int) -> Tensor:
        return (torch.arange(frames, device=lengths.device)[None] < lengths[:, None]).float()[:, None]


def steps_of(frames: Tensor) -> Tensor:
    """Mel frames -> steps of the recogniser."""
    return SYMBOLS_PER_STEP * ((frames + STRIDE - 1) // STRIDE)


def spelled(letters: Iterable[int]) -> str:
    """The likeliest letter of each step (0 is the blank) -> words, repeats and blanks dropped."""
    path = [place for place, _ in itertools.groupby(letters)]
    return " ".join("".join(ALPHABET[place - 1] for place in path if place != BLANK).split())


def levelled(waveform: Tensor) -> Tensor:
    """The waveform at a standard loudness: its louder half decides, so that pauses do not."""
    blocks = waveform[: waveform.shape[-1] // HOP * HOP].view(-1, HOP).square().mean(dim=-1)
    if not len(blocks):
        return waveform
    loudness = blocks.sort().values[len(blocks) // 2 :].mean().sqrt()
    return waveform * (_LOUDNESS / loudness.clamp(min=1e-4))


def _centred(mel: Tensor, mask: Tensor | None) -> Tensor:
    """Mels above the floor of hearing, each band around its own mean, padding at 0."""
    heard = mel.clamp(min=_QUIET)
    if mask is None:
        return (heard - heard.mean(dim=-1, keepdim=True)) / 2.0
    mean = (heard * mask).sum(dim=-1, keepdim=True) / mask.sum(dim=-1, keepdim=True)
    return (heard - mean) / 2.0 * mask


def _head(width: int, symbols: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, SYMBOLS_PER_STEP * (symbols + 1)))


def _per_step(logits: Tensor) -> Tensor:
    """Two steps at once [B, T, 2 * symbols] -> one after the other [B, 2 * T, symbols], as log probabilities."""
    apart = logits.unflatten(-1, (SYMBOLS_PER_STEP, -1)).flatten(1, 2)
    return functional.log_softmax(apart.float(), dim=-1)
