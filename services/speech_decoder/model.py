"""The models that speak."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from anygpt.pack import Pack
from anygpt_models.text_to_speech import TextToSpeech


class Speaker:
    """Codes, as they come -> samples float32 [S] at 16 kHz, phrase by phrase."""

    def __init__(self, pack: Pack) -> None:
        for part in ("speech_units", "speech_pronouncer", "speech_synthesiser", "vocoder"):
            pack.part(part)
        self._speech = TextToSpeech.from_pretrained(pack.folder)

    @property
    def voices(self) -> list[str]:
        """The voices that were learned, the default first."""
        return self._speech.voices

    def codes(self, text: str) -> list[int]:
        """The codes that say a text; none when nothing in it can be said."""
        return self._speech.units.encode(text)

    def say(self, chunks: Iterable[list[int]], voice: str, seed: int) -> Iterator[NDArray[np.float32]]:
        """Samples of each phrase as soon as it is known where it ends."""
        return self._speech.synthesise_stream(chunks, voice, seed)
