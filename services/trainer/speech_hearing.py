"""Recipe of the speech recogniser, and how well it hears."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.speech_language import SpeechLanguage
from anygpt_models.speech_recogniser import LETTERS_PER_STEP, STRIDE, SpeechRecogniser, best_path, steps_of
from services.trainer.data.speech import read_voice
from services.trainer.loop import train
from services.trainer.pronunciations import inventory
from services.trainer.recipe import Recipe
from services.trainer.speech_batches import (
    Batches,
    Heard,
    Spoken,
    balanced,
    disturbed,
    labels,
    letters,
    load_spoken,
    stacked,
)
from services.trainer.speech_config import VOICES, data_folder
from services.trainer.word_errors import word_error_rate

ROUGH_STEPS = 1000
"""CTC alone takes long to leave its all-blank start; rough letter times lead it out and then fade away."""


class Listener(nn.Module):
    """The recogniser with a second, training-only head that names the phoneme of each trunk step."""

    def __init__(self, recogniser: SpeechRecogniser, symbols: list[str]) -> None:
        super().__init__()
        self.recogniser, self.symbols = recogniser, symbols
        self.phonemes = nn.Linear(recogniser.setting("width"), len(symbols))

    def loss(self, rows: list[Spoken], step: int) -> Tensor:
        """CTC of the letters, and cross-entropy of what sounds when: of phonemes, and at first of letters too."""
        heard = disturbed(Heard(*stacked([row.mel for row in rows]), labels(rows, self.symbols)))
        x = self.recogniser.trunk(heard.mel, heard.lengths)
        targets, sizes = letters([row.utterance.text for row in rows])
        written = self.recogniser.letters(x).transpose(0, 1)
        ctc = functional.ctc_loss(written, targets, steps_of(heard.lengths), sizes, zero_infinity=True)
        sounds, rough = heard.sounds[:, 0, ::STRIDE], heard.sounds[:, 1, :: STRIDE // LETTERS_PER_STEP]
        timing = functional.cross_entropy(self.phonemes(x).float().flatten(0, 1), sounds.flatten())
        start = max(0.0, 1.0 - step / ROUGH_STEPS)
        guided = (
            functional.nll_loss(written[: rough.shape[1]].flatten(0, 1), rough.T.flatten()) if start else 0.0
        )
        return ctc + 0.5 * timing + start * guided


def run_recogniser(recipe: Recipe) -> None:
    """Learn to hear letters from both voices, disturbed in many ways."""
    spoken = load_spoken(data_folder(recipe) / "train", VOICES, level=True)
    listener = Listener(
        recipe.build(SpeechRecogniser, "speech_recogniser"), inventory([entry.utterance for entry in spoken])
    )
    batches = Batches(balanced(spoken), size=recipe.many(16))
    train(
        recipe.run("speech_recogniser", learning_rate=2e-3, warmup=200),
        listener,
        lambda step: listener.loss(batches.draw(), step),
    )
    recipe.keep(listener.recogniser, "speech_recogniser")
    judge_recogniser(recipe)


def judge_recogniser(recipe: Recipe) -> dict[str, float]:
    """Word error rate of the recogniser in the pack on sentences that it never heard, for each voice."""
    recogniser = recipe.part(SpeechRecogniser, "speech_recogniser")
    language = SpeechLanguage.from_pretrained(recipe.pack / "speech_language")
    rates = {}
    for voice in VOICES:
        pairs, letter_pairs = [], []
        for utterance, samples in read_voice(data_folder(recipe) / "held_out" / voice):
            heard = recogniser.log_probabilities(torch.as_tensor(samples.astype("float32") / 32768.0))
            pairs.append((utterance.text, language.read(heard.tolist())))
            letter_pairs.append((utterance.text, best_path(heard)))
        rates[voice] = word_error_rate(pairs)
        print(f"{voice}: WER {rates[voice]:.3f}, without the language {word_error_rate(letter_pairs):.3f}")
        print(*pairs[:8], sep="\n")
    return rates
