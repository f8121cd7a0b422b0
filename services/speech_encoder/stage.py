"""The stage: an utterance in, its codes out."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygpt.main import Runtime
from anygpt.stage import Call
from anygpt.topology import SPEECH
from anygpt_models.input import Hearing, Source
from anygpt_models.serving.batching import Batching
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.encoding import EncoderStage
from services.speech_encoder.model import SpeechHearing
from services.speech_encoder.settings import Settings

SAMPLE_RATE = 16_000


class SpeechEncoder(EncoderStage):
    """Hears what is said, in sound files and in the sound track of videos; cut where the pack's limit is."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(SPEECH, runtime, Batching())
        self._settings = settings

    def load(self) -> None:
        """See EncoderStage."""
        self._hearing = SpeechHearing(self._runtime.pack, prepare_device(self._settings))

    def adapt(self, source: Source) -> NDArray[np.float32]:
        """Samples [S] at 16 kHz, as loud as they are."""
        return self.reader.waveform(source, Hearing(SAMPLE_RATE, cut_s=self.entry.max_duration_s))

    def encode(self, items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """Likelihoods, of which `read` makes codes."""
        return [self._hearing.hear(item) for item in items]

    async def read(self, output: NDArray[Any], call: Call) -> NDArray[Any]:
        """The search for words, which noise makes long: others must not wait for it on the lane."""
        return await asyncio.to_thread(self._hearing.read, output, call.check)

    def blank(self) -> NDArray[np.float32]:
        """Half a second of silence."""
        return np.zeros(SAMPLE_RATE // 2, dtype=np.float32)


def build(settings: Settings, runtime: Runtime) -> SpeechEncoder:
    """The service's stage."""
    return SpeechEncoder(settings, runtime)
