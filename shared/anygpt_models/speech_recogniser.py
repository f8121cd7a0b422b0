"""Speech recogniser: log mel -> letters by CTC (Graves et al. 2006), for speech of any length.

The trunk runs at a quarter of the mel rate (15.6 a second); its head emits two letters a step, because people
say up to 20 letters a second.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.part import Part, configured
from anygpt_models.spectrogram import HOP, MELS, SAMPLE_RATE, log_mel
from anygpt_models.speech_blocks import SpeechBlock
from anygpt_models.speech_text import ALPHABET

BLANK = 0
STRIDE = 4
LETTERS_PER_STEP = 2
WINDOW_S, MARGIN_S = 12, 1
_QUIET = -6.0
"""Mels below this are as good as silence once the waveform's loudness is brought to `_LOUDNESS`."""
_LOUDNESS = 0.1


class SpeechRecogniser(Part):
    """Log mels [B, 80, T] -> log probabilities [B, 2 * ceil(T / 4), 29] of blank and `ALPHABET`."""

    @configured
    def __init__(self, width: int = 144, layers: int = 6, heads: int = 4, kernel: int = 15) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(MELS, width, 5, stride=2, padding=2), nn.GELU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2), nn.GELU(),
        )  # fmt: skip
        self.blocks = nn.ModuleList(SpeechBlock(width, heads, kernel) for _ in range(layers))
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, LETTERS_PER_STEP * (len(ALPHABET) + 1))
        )

    def forward(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """See the class; `lengths` [B] counts the mel frames that are real."""
        return self.letters(self.trunk(mel, lengths))

    def trunk(self, mel: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log mels [B, 80, T] -> what is heard [B, ceil(T / 4), width]."""
        mask = None if lengths is None else self._kept(lengths, mel.shape[-1])
        centred = _centred(mel, mask)
        x: Tensor = self.stem(centred).transpose(1, 2)
        keep = None if mask is None else mask[:, :, ::STRIDE].transpose(1, 2)[:, : x.shape[1]]
        for block in self.blocks:
            x = block(x, keep)
        return x

    def letters(self, x: Tensor) -> Tensor:
        """Output of the trunk -> log probabilities of letters, two steps for each of its own."""
        logits = self.head(x).unflatten(-1, (LETTERS_PER_STEP, -1)).flatten(1, 2)
        return functional.log_softmax(logits.float(), dim=-1)

    @torch.inference_mode()
    def log_probabilities(self, waveform: Tensor) -> Tensor:
        """Waveform [S] at 16 kHz -> [N, 29], 31.25 steps a second; long ones in windows that overlap."""
        if not len(waveform):
            return waveform.new_zeros(0, len(ALPHABET) + 1)
        mel = log_mel(levelled(waveform.float()))
        window, margin = (seconds * SAMPLE_RATE // HOP // STRIDE * STRIDE for seconds in (WINDOW_S, MARGIN_S))
        pieces = []
        for start in range(0, mel.shape[-1], window):
            left = min(start, margin)
            piece = self(mel[None, :, start - left : start + window + margin])[0]
            kept = slice(LETTERS_PER_STEP * left // STRIDE, LETTERS_PER_STEP * (left + window) // STRIDE)
            pieces.append(piece[kept])
        return torch.cat(pieces)

    def recognise(self, waveform: Tensor) -> str:
        """Waveform [S] at 16 kHz -> what is said in it: words over `ALPHABET`, empty for none."""
        return best_path(self.log_probabilities(waveform))

    @staticmethod
    def _kept(lengths: Tensor, frames: int) -> Tensor:
        return (torch.arange(frames, device=lengths.device)[None] < lengths[:, None]).float()[:, None]


def steps_of(frames: Tensor) -> Tensor:
    """Mel frames -> letter steps of the recogniser."""
    return LETTERS_PER_STEP * ((frames + STRIDE - 1) // STRIDE)


def best_path(log_probabilities: Tensor) -> str:
    """The likeliest letter of each step, repeats and blanks dropped."""
    path = [place for place, _ in itertools.groupby(log_probabilities.argmax(dim=-1).tolist())]
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
