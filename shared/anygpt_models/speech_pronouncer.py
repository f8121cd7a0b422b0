"""Pronouncer: letters of a phrase -> phonemes of each of its words, by CTC within the word.

Words are read in their context ("the" before a vowel); each word's own letters decide how many phonemes it gets.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from anygpt_models.part import Part, configured
from anygpt_models.speech_blocks import NearConv, SpeechBlock
from anygpt_models.speech_text import ALPHABET

SLOTS = 3
"""Places for phonemes behind each letter: x sounds as two, and CTC wants room between equal ones."""


class SpeechPronouncer(Part):
    """Letters [B, L] -> log probabilities [B, 3 L, 1 + phonemes] of blank and `symbols`."""

    @configured
    def __init__(self, symbols: list[str], width: int = 128, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.symbols = list(symbols)
        self.embed = nn.Embedding(len(ALPHABET) + 1, width, padding_idx=0)
        self.blocks = nn.ModuleList(SpeechBlock(width, heads, 9) for _ in range(layers))
        self.spread = nn.Linear(width, SLOTS * width)
        self.last = NearConv(width, 9)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(symbols) + 1))

    def forward(self, letters: Tensor) -> Tensor:
        """See the class; letter 0 is padding, others are places in `ALPHABET` from 1."""
        keep = (letters > 0).float()[..., None]
        x = self.embed(letters)
        for block in self.blocks:
            x = block(x, keep)
        x = self.spread(x).unflatten(-1, (SLOTS, -1)).flatten(1, 2)
        x = self.last(x, keep.repeat_interleave(SLOTS, dim=1))
        logits: Tensor = self.head(x)
        return logits.float().log_softmax(dim=-1)

    @torch.inference_mode()
    def pronounce(self, text: str) -> list[str]:
        """Words over `ALPHABET` apart by one space -> phonemes, with a gap symbol between words."""
        if not text:
            return []
        path = self(letter_ids([text]))[0].argmax(dim=-1).tolist()
        words, start = [], 0
        for word in text.split(" "):
            slots = path[SLOTS * start : SLOTS * (start + len(word))]
            words.append([self.symbols[place - 1] for place, _ in itertools.groupby(slots) if place])
            start += len(word) + 1
        return [symbol for number, word in enumerate(words) for symbol in ([" "] if number else []) + word]


def letter_ids(texts: list[str]) -> Tensor:
    """Texts over `ALPHABET` -> ids [B, longest], padded with 0."""
    rows = [torch.tensor([ALPHABET.index(letter) + 1 for letter in text], dtype=torch.long) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True)
