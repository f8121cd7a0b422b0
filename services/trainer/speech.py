"""Recipes of the speech parts: units, spoken data, recogniser, pronouncer and synthesiser.

Run one with `python -m services.trainer.speech --stage units`; each is also a function `run_<stage>(recipe)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from anygpt_models.speech_language import count_language
from anygpt_models.speech_units import learn_units
from services.trainer.data.sentences import Corpus, build_sentences, word_counts
from services.trainer.data.speech import HibariVoice, JoeVoice, Phonemiser, build_voice, common_words
from services.trainer.judge_speech import run_judge
from services.trainer.recipe import Recipe, main
from services.trainer.speech_config import HELD_OUT_SPOKEN, JOE_SENTENCES, data_folder
from services.trainer.speech_hearing import judge_recogniser, run_recogniser
from services.trainer.speech_speaking import run_pronouncer, run_synthesiser


def corpus(recipe: Recipe) -> Corpus:
    """The sentences that everything here learns from and is judged on."""
    return build_sentences(common_words(data_folder(recipe)))


def run_units(recipe: Recipe) -> None:
    """Learn the speech units, and count the language, from the sentences and the common words."""
    sentences = corpus(recipe).train
    words = word_counts(sentences, common_words(data_folder(recipe)))
    learn_units(words).save_pretrained(recipe.pack / "speech_units")
    count_language(sentences, words).save_pretrained(recipe.pack / "speech_language")


def run_data(recipe: Recipe) -> None:
    """Let both voices read; the second voice is slower and reads a part of the corpus."""
    sentences, phonemise, folder = corpus(recipe), Phonemiser(), data_folder(recipe)
    held_out = sentences.held_out[:HELD_OUT_SPOKEN]
    some = random.Random(3).sample(sentences.train, JOE_SENTENCES)
    for voice, read in ((HibariVoice(), sentences.train), (JoeVoice(), some)):
        build_voice(voice, held_out, folder / "held_out" / voice.name, phonemise)
        build_voice(voice, read, folder / "train" / voice.name, phonemise)


def judge(recipe: Recipe) -> None:
    """Print word error rates: the recogniser's, and the synthesiser's as whisper-tiny hears it."""
    judge_recogniser(recipe)
    run_judge(recipe)


STAGES: dict[str, Callable[[Recipe], None]] = {
    "units": run_units,
    "data": run_data,
    "recogniser": run_recogniser,
    "pronouncer": run_pronouncer,
    "synthesiser": run_synthesiser,
    "judge": judge,
}

if __name__ == "__main__":
    main(STAGES)
