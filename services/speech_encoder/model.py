"""The models that hear words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from anygpt.pack import Pack
from anygpt_models.serving.device import load_part
from anygpt_models.speech_language import SpeechLanguage
from anygpt_models.speech_recogniser import SpeechRecogniser
from anygpt_models.speech_units import SpeechUnits
from anygpt_models.transcriber import Transcriber


class SpeechHearing:
    """Samples float32 [S] at 16 kHz -> the codes of what is said, none for silence."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        recogniser = load_part(SpeechRecogniser, pack.part("speech_recogniser"), device)
        language = SpeechLanguage.from_pretrained(pack.part("speech_language"))
        self._transcriber = Transcriber(recogniser, language)
        self._units = SpeechUnits.from_pretrained(pack.part("speech_units"))
        self._device = device

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.int64]:
        """Codes [n]."""
        said = self._transcriber.transcribe(torch.from_numpy(samples).to(self._device))
        return np.array(self._units.encode(said), dtype=np.int64)
