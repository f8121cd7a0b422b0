"""The models that listen to music and sounds."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anygpt.pack import Pack
from anygpt_models.audio_codec import SECONDS, AudioCodec
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.pooling import pooled
from anygpt_models.serving.device import load_part

CLIP_S = SECONDS


class AudioHearing:
    """Sounds float32 [C, S] at 16 kHz -> the recogniser's features [8, 256], or the codec's 128 codes of clip 0."""

    def __init__(self, pack: Pack, path: str, device: torch.device) -> None:
        self._device = device
        self._hears_codes = path == "codes"
        if self._hears_codes:
            self._hear = load_part(AudioCodec, pack.part("audio_codec"), device).encode
        else:
            self._hear = load_part(AudioRecogniser, pack.part("audio_recogniser"), device).listen

    @torch.inference_mode()
    def __call__(self, sounds: list[NDArray[np.float32]]) -> list[NDArray[Any]]:
        """One array for each sound."""
        heard = self._hear(torch.from_numpy(np.concatenate(sounds)).to(self._device)).cpu()
        clips = heard.unflatten(0, (len(sounds), -1))
        return list((clips[:, 0] if self._hears_codes else pooled(clips)).numpy())
