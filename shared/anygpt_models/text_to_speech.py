"""Text to speech: units -> samples, phrase by phrase, with the parts of one pack."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anygpt_models.speech_pronouncer import SpeechPronouncer
from anygpt_models.speech_synthesiser import SpeechSynthesiser
from anygpt_models.speech_text import phrases
from anygpt_models.speech_units import SpeechUnits
from anygpt_models.vocoder import Vocoder

Samples = NDArray[np.float32]

PAUSE, END = ",", "."
PEAK = 0.7
_FADE = 80
"""Samples (5 ms) over which a phrase comes up from silence and goes back to it."""


@dataclass(frozen=True)
class TextToSpeech:
    """Codes are speech units; sound is float32 mono at 16 kHz. Equal input and seed give equal samples."""

    units: SpeechUnits
    pronouncer: SpeechPronouncer
    synthesiser: SpeechSynthesiser
    vocoder: Vocoder

    @classmethod
    def from_pretrained(cls, pack: str | Path) -> TextToSpeech:
        """Load the parts of a pack that speak, in float32 for inference."""
        folder = Path(pack)
        return cls(
            SpeechUnits.from_pretrained(folder / "speech_units"),
            SpeechPronouncer.open(folder / "speech_pronouncer"),
            SpeechSynthesiser.open(folder / "speech_synthesiser"),
            Vocoder.open(folder / "vocoder"),
        )

    @property
    def voices(self) -> list[str]:
        """Names of the voices, the default first."""
        return list(self.synthesiser.voices)

    def synthesise(self, units: list[int], voice: str = "", seed: int = 0) -> Samples:
        """Units -> samples [S]. Raises ValueError for an unknown unit or voice."""
        pieces = list(self.synthesise_stream([units], voice, seed))
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def synthesise_stream(
        self, chunks: Iterable[list[int]], voice: str = "", seed: int = 0
    ) -> Iterator[Samples]:
        """Chunks of units, cut anywhere -> samples phrase by phrase, the same in sum as `synthesise` of all.

        A phrase is spoken as soon as it is known where it ends: when more than eight whole words wait.
        """
        if voice and voice not in self.voices:
            raise ValueError(f"voice {voice!r} is not one of {', '.join(self.voices)}")
        text, number = "", 0
        for chunk in chunks:
            text += self.units.join(chunk)
            # The last word may go on in the next chunk.
            *ready, rest = phrases(text[: text.rfind(" ")]) or [""]
            for phrase in ready:
                yield self._say(phrase, PAUSE, voice or self.voices[0], seed + number)
                number += 1
            text = f" {rest}{text[text.rfind(' ') :]}" if ready else text
        ready = phrases(" ".join(text.split()))
        for place, phrase in enumerate(ready):
            yield self._say(
                phrase, END if place == len(ready) - 1 else PAUSE, voice or self.voices[0], seed + number
            )
            number += 1

    @torch.inference_mode()
    def _say(self, phrase: str, ending: str, voice: str, seed: int) -> Samples:
        symbols = [*self.pronouncer.pronounce(phrase), ending]
        mel = self.synthesiser.speak(symbols, voice, torch.Generator().manual_seed(seed))
        samples: Samples = self.vocoder(mel[None])[0].cpu().numpy()
        ramp = np.linspace(0.0, 1.0, min(_FADE, len(samples)), dtype=np.float32)
        samples[: len(ramp)] *= ramp
        samples[len(samples) - len(ramp) :] *= ramp[::-1]
        return np.clip(samples, -1.0, 1.0)
