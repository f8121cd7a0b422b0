"""The stages of the speech parts: units, spoken data, language, recogniser, pronouncer and synthesiser."""

from __future__ import annotations

import random
from collections.abc import Callable

from anygpt_models.speech_language import count_language
from anygpt_models.speech_units import choose_units
from services.trainer.base_model import merges
from services.trainer.data.sentences import Corpus, build_sentences, word_counts, word_rows
from services.trainer.data.speech import (
    HibariVoice,
    JoeVoice,
    Phonemiser,
    build_voice,
    common_words,
    lexicon,
    read_utterances,
)
from services.trainer.judge_speech import run_judge
from services.trainer.pronunciations import pronounced
from services.trainer.recipe import Recipe
from services.trainer.speech_config import HELD_OUT_SPOKEN, JOE_SENTENCES, VOICES, WORD_ROUNDS, data_folder
from services.trainer.speech_hearing import judge_recogniser, run_recogniser
from services.trainer.speech_speaking import run_pronouncer, run_synthesiser


def corpus(recipe: Recipe) -> Corpus:
    """The sentences that everything here learns from and is judged on."""
    return build_sentences(common_words(data_folder(recipe)))


def run_units(recipe: Recipe) -> None:
    """Choose the speech units by the sentences, the common words and the tokens of the language model."""
    words = word_counts(corpus(recipe).train, common_words(data_folder(recipe)))
    choose_units(words, merges()).save_pretrained(recipe.pack / "speech_units")


def run_language(recipe: Recipe) -> None:
    """Count the words and the pairs of the sentences, and learn from the voices how words are pronounced."""
    sentences, folder = corpus(recipe).train, data_folder(recipe)
    utterances = [each for voice in VOICES for each in read_utterances(folder / "train" / voice)]
    words = word_counts(sentences, common_words(folder))
    known = pronounced(utterances, lexicon(folder))
    count_language(sentences, words, known).save_pretrained(recipe.pack / "speech_language")


def run_data(recipe: Recipe) -> None:
    """Let both voices read: sentences, and then every common word; the second voice is slower and reads less."""
    sentences, phonemise, folder = corpus(recipe), Phonemiser(), data_folder(recipe)
    held_out = sentences.held_out[:HELD_OUT_SPOKEN]
    some = random.Random(3).sample(sentences.train, JOE_SENTENCES)
    words = word_rows(common_words(folder), WORD_ROUNDS)
    for voice, read in (
        (HibariVoice(), sentences.train + words),
        (JoeVoice(), some + words[: len(words) // 2]),
    ):
        build_voice(voice, held_out, folder / "held_out" / voice.name, phonemise)
        build_voice(voice, read, folder / "train" / voice.name, phonemise)


def judge(recipe: Recipe) -> None:
    """Print word error rates: the recogniser's, and the synthesiser's as whisper-tiny hears it."""
    judge_recogniser(recipe)
    run_judge(recipe)


STAGES: dict[str, Callable[[Recipe], None]] = {
    "units": run_units,
    "data": run_data,
    "language": run_language,
    "recogniser": run_recogniser,
    "pronouncer": run_pronouncer,
    "synthesiser": run_synthesiser,
    "judge": judge,
}
