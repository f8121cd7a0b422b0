"""Recipe of the speech recogniser, and how well it hears."""

from __future__ import annotations

from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt_models.spectrogram import log_mel
from anygpt_models.speech_language import SpeechLanguage
from anygpt_models.speech_recogniser import GAP, STRIDE, SYMBOLS_PER_STEP, SpeechRecogniser, spelled, steps_of
from anygpt_models.speech_text import ALPHABET
from anygpt_models.transcriber import read
from services.trainer.data.speech import COMMA, END, read_voice
from services.trainer.data.stored import floats
from services.trainer.loop import train
from services.trainer.pronunciations import inventory, unstressed
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet
from services.trainer.speech_batches import (
    Batches,
    Heard,
    Spoken,
    balanced,
    disturbed,
    labels,
    load_spoken,
    plain_sounds,
    spliced,
    stacked,
    targets,
)
from services.trainer.speech_config import VOICES, data_folder
from services.trainer.word_errors import word_error_rate

TIMED_STEPS = 1000
"""CTC alone takes long to leave its all-blank start; the phoneme of each step leads it out and then fades away."""
SHOWN = 4
"""Sentences of each voice on a sheet."""
LETTER_WEIGHT, TIMING_WEIGHT = 0.3, 0.5


class Listener(nn.Module):
    """The recogniser with a third, training-only head that names the stressed phoneme of each trunk step."""

    plain: Tensor
    """The recogniser's own number of each symbol."""

    def __init__(self, recogniser: SpeechRecogniser, symbols: list[str]) -> None:
        super().__init__()
        self.recogniser, self.symbols = recogniser, symbols
        self.timed = nn.Linear(recogniser.setting("width"), len(symbols))
        places = [recogniser.setting("phonemes").find(unstressed(symbol)) + 1 for symbol in symbols]
        self.register_buffer("plain", torch.tensor(places), persistent=False)

    def loss(self, rows: list[Spoken], step: int) -> Tensor:
        """CTC of phonemes and letters, and cross-entropy of what sounds when."""
        heard = disturbed(Heard(*stacked([row.mel for row in rows]), labels(rows, self.symbols)))
        x, steps = self.recogniser.trunk(heard.mel, heard.lengths), steps_of(heard.lengths)
        named = self.recogniser.named(x)
        phonemes = self.recogniser.setting("phonemes")
        said = targets([plain_sounds(row.utterance, phonemes) for row in rows], phonemes)
        written = targets([row.utterance.text for row in rows], ALPHABET)
        timing = functional.cross_entropy(
            self.timed(x).float().flatten(0, 1), heard.sounds[:, ::STRIDE].flatten()
        )
        loss = _ctc(named.phonemes, steps, *said) + LETTER_WEIGHT * _ctc(named.letters, steps, *written)
        start = max(0.0, 1.0 - step / TIMED_STEPS)
        if start:
            times = self.plain[heard.sounds[:, :: STRIDE // SYMBOLS_PER_STEP]][:, : named.phonemes.shape[1]]
            loss = loss + start * functional.nll_loss(
                named.phonemes[:, : times.shape[1]].flatten(0, 1), times.flatten()
            )
        return loss + TIMING_WEIGHT * timing


def _ctc(named: Tensor, steps: Tensor, targets: Tensor, sizes: Tensor) -> Tensor:
    return functional.ctc_loss(named.transpose(0, 1), targets, steps, sizes, zero_infinity=True)


def run_recogniser(recipe: Recipe) -> None:
    """Learn to hear phonemes and letters from both voices, disturbed in many ways."""
    spoken = load_spoken(data_folder(recipe) / "train", VOICES, level=True)
    symbols = inventory([entry.utterance for entry in spoken])
    phonemes = GAP + "".join(sorted({unstressed(symbol) for symbol in symbols} - {GAP, COMMA, END}))
    listener = Listener(recipe.build(SpeechRecogniser, "speech_recogniser", phonemes), symbols)
    batches = Batches(balanced(spoken), size=recipe.many(16))
    train(
        recipe.run("speech_recogniser", learning_rate=2e-3, warmup=200),
        listener,
        lambda step: listener.loss(spliced(batches.draw()), step),
        lambda: heard_so_far(recipe, listener.recogniser),
    )
    recipe.keep(listener.recogniser, "speech_recogniser")
    judge_recogniser(recipe)


def heard_so_far(recipe: Recipe, recogniser: SpeechRecogniser) -> Sheet:
    """Sentences that no recogniser learned from, and what is heard; none where they have not been spoken."""
    language, cells = SpeechLanguage.from_pretrained(recipe.pack / "speech_language"), []
    for voice in VOICES:
        for utterance, samples in islice(read_voice(data_folder(recipe) / "held_out" / voice), SHOWN):
            wave = torch.as_tensor(floats(samples))
            heard = read(recogniser.listen(wave), recogniser.setting("phonemes"), language)
            cells.append(Cell(log_mel(wave), f"said: {utterance.text}\nheard: {heard}"))
    return Sheet(f"{len(cells)} held-out sentences heard", cells, columns=2)


def judge_recogniser(recipe: Recipe) -> dict[str, float]:
    """Word error rate of the recogniser in the pack on sentences that it never heard, for each voice."""
    recogniser = recipe.part(SpeechRecogniser, "speech_recogniser")
    language = SpeechLanguage.from_pretrained(recipe.pack / "speech_language")
    rates = {}
    for voice in VOICES:
        pairs, letter_pairs = [], []
        for utterance, samples in read_voice(data_folder(recipe) / "held_out" / voice):
            heard = recogniser.listen(torch.as_tensor(floats(samples)))
            pairs.append((utterance.text, read(heard, recogniser.setting("phonemes"), language)))
            letter_pairs.append((utterance.text, spelled(heard.letters.argmax(dim=-1).tolist())))
        rates[voice] = word_error_rate(pairs)
        print(f"{voice}: WER {rates[voice]:.3f}, without the language {word_error_rate(letter_pairs):.3f}")
        print(*pairs[:8], sep="\n")
    return rates
