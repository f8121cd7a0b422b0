"""The stage: music or sound in, its features or codes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygpt.main import Runtime
from anygpt.topology import AUDIO
from anygpt_models.input import Clips, Hearing, Source, spread
from anygpt_models.serving.batching import Batching
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.encoding import EncoderStage
from services.audio_encoder.model import AudioHearing
from services.audio_encoder.settings import Settings


class AudioEncoder(EncoderStage):
    """Listens to music and sounds: a short one whole, a long one in clips spread from start to end."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(AUDIO, runtime, Batching(settings.encoder_batch, settings.encoder_wait_ms))
        self._settings = settings

    def load(self) -> None:
        """See EncoderStage."""
        self._hearing = AudioHearing(self._runtime.pack, self.entry.path, prepare_device(self._settings))

    def adapt(self, source: Source) -> NDArray[np.float32]:
        """Samples [clips, n] at the rate of the models, as loud as they are."""
        count = self._settings.audio_clips if self.entry.path == "features" else 1
        rate = self._hearing.sample_rate
        samples = self.reader.waveform(source, Hearing(rate))
        return spread(samples, Clips(self._hearing.clip_s(samples.size), count), rate)

    def encode(self, items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """See EncoderStage."""
        return self._hearing(items)

    def blank(self) -> NDArray[np.float32]:
        """A clip of silence."""
        return np.zeros((1, round(self._hearing.most_s * self._hearing.sample_rate)), dtype=np.float32)


def build(settings: Settings, runtime: Runtime) -> AudioEncoder:
    """The service's stage."""
    return AudioEncoder(settings, runtime)
