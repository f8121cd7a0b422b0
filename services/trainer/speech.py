"""Recipes of the speech parts: units, spoken data, recogniser, pronouncer and synthesiser.

Run one with `python -m services.trainer.speech --stage units`; each is also a function `run_<stage>(config)`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

import torch

from anygpt_models.speech_language import count_language
from anygpt_models.speech_units import learn_units
from services.trainer.data.sentences import Corpus, build_sentences, word_counts
from services.trainer.data.speech import HibariVoice, JoeVoice, Phonemiser, build_voice, common_words
from services.trainer.judge_speech import run_judge
from services.trainer.speech_config import HELD_OUT_SPOKEN, JOE_SENTENCES, Config
from services.trainer.speech_hearing import judge_recogniser, run_recogniser
from services.trainer.speech_speaking import run_pronouncer, run_synthesiser


def corpus(config: Config) -> Corpus:
    """The sentences that everything here learns from and is judged on."""
    return build_sentences(common_words(config.data))


def run_units(config: Config) -> None:
    """Learn the speech units, and count the language, from the sentences and the common words."""
    sentences = corpus(config).train
    words = word_counts(sentences, common_words(config.data))
    learn_units(words).save_pretrained(config.pack / "speech_units")
    count_language(sentences, words).save_pretrained(config.pack / "speech_language")


def run_data(config: Config) -> None:
    """Let both voices read; the second voice is slower and reads a part of the corpus."""
    sentences, phonemise = corpus(config), Phonemiser()
    began = time.monotonic()
    for voice in (HibariVoice(), JoeVoice()):
        read = (
            sentences.train
            if voice.name == "hibari"
            else random.Random(3).sample(sentences.train, JOE_SENTENCES)
        )
        build_voice(
            voice, sentences.held_out[:HELD_OUT_SPOKEN], config.data / "held_out" / voice.name, phonemise
        )
        build_voice(voice, read, config.data / "train" / voice.name, phonemise)
        print(f"{voice.name}: {time.monotonic() - began:.0f} s")


def judge(config: Config) -> None:
    """Print word error rates: the recogniser's, and the synthesiser's as whisper-tiny hears it."""
    judge_recogniser(config)
    run_judge(config)


STAGES: dict[str, Callable[[Config], None]] = {
    "units": run_units,
    "data": run_data,
    "recogniser": run_recogniser,
    "pronouncer": run_pronouncer,
    "synthesiser": run_synthesiser,
    "judge": judge,
}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m services.trainer.speech", description=__doc__)
    parser.add_argument("--stage", choices=list(STAGES), required=True)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    STAGES[arguments.stage](Config(minutes=arguments.minutes, resume=arguments.resume))


if __name__ == "__main__":
    main()
