"""The models that listen to music and sounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anygpt.pack import Pack
from anygpt_models.audio_codec import SECONDS, AudioCodec
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.pooling import pooled
from anygpt_models.published.loading import class_of
from anygpt_models.published.music import ENCODEC, MusicCodec
from anygpt_models.published.seeing import ClapHearing
from anygpt_models.serving.device import load_part
from anygpt_models.spectrogram import SAMPLE_RATE

MUSIC_S = 5.0
"""The most that AnyGPT hears of a piece."""


class AudioHearing:
    """Sounds float32 [C, S] at `sample_rate` -> features [n, width] of the pack's encoder, or the codes of clip 0."""

    def __init__(self, pack: Pack, path: str, device: torch.device) -> None:
        self._device = device
        self._hears_codes = path == "codes"
        self._frame = 0
        """Samples of a frame of codes, where a sound has codes for its length; 0: each has as many."""
        self.sample_rate, self.most_s = SAMPLE_RATE, SECONDS
        self._hear: Callable[[Tensor], Tensor]
        if self._hears_codes and class_of(pack.part("audio_codec")) == ENCODEC:
            codec = MusicCodec(pack, device)
            self._hear, self._frame = codec.encode, codec.frame
            self.sample_rate, self.most_s = codec.sample_rate, MUSIC_S
        elif self._hears_codes:
            self._hear = load_part(AudioCodec, pack.part("audio_codec"), device).encode
        elif pack.has("audio_encoder"):
            hearing = ClapHearing(pack, device)
            self._hear, self.sample_rate = hearing.features, hearing.sample_rate
        else:
            self._hear = load_part(AudioRecogniser, pack.part("audio_recogniser"), device).listen

    def clip_s(self, samples: int) -> float:
        """Seconds of a sound's clips: of music as much as there is, in whole frames, as the doors count codes."""
        if not self._frame:
            return self.most_s
        return min(self.most_s, max(1, samples // self._frame) * self._frame / self.sample_rate)

    @torch.inference_mode()
    def __call__(self, sounds: list[NDArray[np.float32]]) -> list[NDArray[Any]]:
        """One array for each sound."""
        heard = self._hear(torch.from_numpy(np.concatenate(sounds)).to(self._device)).cpu()
        clips = heard.unflatten(0, (len(sounds), -1))
        return list((clips[:, 0] if self._hears_codes else pooled(clips)).numpy())
