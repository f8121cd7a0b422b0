"""The models that hear words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from anygpt.pack import Pack
from anygpt_models.serving.device import load_part
from anygpt_models.speech_language import SpeechLanguage
from anygpt_models.speech_recogniser import Likelihoods, SpeechRecogniser
from anygpt_models.speech_units import SpeechUnits
from anygpt_models.transcriber import Transcriber


class SpeechHearing:
    """Samples float32 [S] at 16 kHz -> likelihoods -> the codes of what is said, none for silence."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        recogniser = load_part(SpeechRecogniser, pack.part("speech_recogniser"), device)
        language = SpeechLanguage.from_pretrained(pack.part("speech_language"))
        self._transcriber = Transcriber(recogniser, language)
        self._units = SpeechUnits.from_pretrained(pack.part("speech_units"))
        self._device = device

    def hear(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Likelihoods [N, phonemes and letters]."""
        heard = self._transcriber.recogniser.listen(torch.from_numpy(samples).to(self._device))
        together: NDArray[np.float32] = torch.cat(heard, dim=-1).float().cpu().numpy()
        return together

    def read(self, heard: NDArray[np.float32], check: Callable[[], None]) -> NDArray[np.int64]:
        """Codes [n]; `check` is called time and again, and may raise."""
        phonemes = 1 + len(self._transcriber.recogniser.setting("phonemes"))
        apart = Likelihoods(*torch.from_numpy(heard).tensor_split((phonemes,), dim=-1))
        return np.array(self._units.encode(self._transcriber.read(apart, check)), dtype=np.int64)
