"""The language turns unsure sounds into likely words, and leaves sure ones alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from anygpt_models.speech_language import SpeechLanguage, count_language
from anygpt_models.speech_recogniser import Likelihoods
from anygpt_models.speech_text import ALPHABET
from anygpt_models.transcriber import read

PHONEMES = " abcdefghiklmnopstuwz"
LEXICON = {
    "play": ["ple"], "sad": ["sad"], "happy": ["hapi"], "piano": ["piano"], "music": ["muzik"], "draw": ["do"],
    "a": ["a", "e"], "cat": ["kat"], "hat": ["hat"], "see": ["si"], "sea": ["si"], "the": ["de", "di"],
}  # fmt: skip
SENTENCES = ["play happy piano music", "play sad piano music", "draw a cat", "draw a hat", "see the sea"]
LANGUAGE = count_language(SENTENCES, {word: 5 for text in SENTENCES for word in text.split()}, LEXICON)
SILENCE = {"": 0.97}


def rows(steps: list[dict[str, float]], symbols: str) -> torch.Tensor:
    """Log probabilities of steps: the shares given, "" for the blank, the rest spread thinly."""
    out = torch.full((len(steps), len(symbols) + 1), 1e-4)
    for row, shares in zip(out, steps, strict=True):
        for symbol, share in shares.items():
            row[symbols.index(symbol) + 1 if symbol else 0] = share
    return out.log()


def apart(symbols: str) -> list[dict[str, float]]:
    """One step a symbol, a blank behind each."""
    return [step for symbol in symbols for step in ({symbol: 0.97}, SILENCE)]


def heard(sounds: list[dict[str, float]], letters: str = "", language: SpeechLanguage = LANGUAGE) -> str:
    """What is read from these sounds; letters, where there are some, are heard at the same steps."""
    written = apart(letters) + [SILENCE] * (len(sounds) - 2 * len(letters))
    return read(Likelihoods(rows(sounds, PHONEMES), rows(written, ALPHABET)), PHONEMES, language)


def test_sure_sounds_are_read_as_the_words_that_they_are() -> None:
    assert heard(apart("ple sad piano muzik")) == "play sad piano music"


def test_a_sound_that_lasts_is_one_and_a_blank_makes_it_two() -> None:
    assert heard([step for step in apart("sad") for _ in range(3)]) == "sad"
    twice = SpeechLanguage({"aad": 1, "ad": 1}, {}, {"aad": ["aad"], "ad": ["ad"]})
    assert heard(apart("aad"), language=twice) == "aad"
    assert heard([{"a": 0.97}, {"a": 0.97}, *apart("d")], language=twice) == "ad"


def test_an_unsure_sound_follows_the_words_around_it() -> None:
    assert heard([*apart("do a "), {"w": 0.5, "k": 0.4}, SILENCE, *apart("at")]) == "draw a cat"


def test_words_that_sound_alike_are_told_apart_by_their_neighbours() -> None:
    assert heard(apart("si de si")) == "see the sea"
    assert heard(apart("si di si")) == "see the sea"


def test_words_without_a_gap_between_are_still_two() -> None:
    assert heard(apart("plesad piano")) == "play sad piano"


def test_a_word_outside_the_lexicon_is_spelled_by_the_letters_heard_with_it() -> None:
    assert heard(apart("do a zuf"), letters="drw a zof") == "draw a zof"


def test_nothing_heard_is_nothing_read() -> None:
    assert heard([]) == ""
    assert heard([{"": 1.0}] * 30) == ""


def test_without_a_lexicon_everything_is_spelled() -> None:
    assert heard(apart("helo"), letters="helo", language=SpeechLanguage({}, {}, {})) == "helo"


def test_a_saved_language_reads_the_same(tmp_path: Path) -> None:
    LANGUAGE.save_pretrained(tmp_path)
    again = SpeechLanguage.from_pretrained(tmp_path)
    assert (again.words, again.pairs, again.lexicon) == (LANGUAGE.words, LANGUAGE.pairs, LANGUAGE.lexicon)
    assert math.isclose(again.likelihood("draw", "a"), LANGUAGE.likelihood("draw", "a"))


def test_a_search_can_be_stopped_at_any_step() -> None:
    steps = 0

    def stop() -> None:
        nonlocal steps
        steps += 1
        if steps == 5:
            raise TimeoutError

    sounds = rows(apart("ple sad piano muzik"), PHONEMES)
    with pytest.raises(TimeoutError):
        read(Likelihoods(sounds, rows([SILENCE] * len(sounds), ALPHABET)), PHONEMES, LANGUAGE, stop)
    assert steps == 5
