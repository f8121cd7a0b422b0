"""The language turns unsure letters into likely words, and leaves sure ones alone."""

from __future__ import annotations

import math
from pathlib import Path

from anygpt_models.speech_language import SpeechLanguage, count_language
from anygpt_models.speech_text import ALPHABET

SENTENCES = ["play happy piano music", "play sad piano music", "draw a cat", "draw a hat", "see the sea"]
LANGUAGE = count_language(SENTENCES, {word: 5 for text in SENTENCES for word in text.split()})


def steps(*letters: dict[str, float]) -> list[list[float]]:
    """One step a letter, a blank between: the shares given, the rest spread thinly."""
    rows = []
    for shares in letters:
        row = [1e-4] * (len(ALPHABET) + 1)
        for letter, share in shares.items():
            row[ALPHABET.index(letter) + 1] = share
        rows.append([math.log(value) for value in row])
        rows.append([math.log(0.97), *[math.log(1e-3)] * len(ALPHABET)])
    return rows


def sure(text: str) -> list[list[float]]:
    return steps(*({letter: 0.97} for letter in text))


def test_sure_letters_are_read_as_they_stand() -> None:
    assert LANGUAGE.read(sure("play sad piano music")) == "play sad piano music"


def test_a_doubled_letter_needs_a_blank_between() -> None:
    assert LANGUAGE.read(sure("see")) == "see"
    assert LANGUAGE.read([row for row in sure("sad") for _ in range(3)]) == "sad"


def test_an_unsure_letter_follows_the_words_around_it() -> None:
    unsure = sure("draw a ") + steps({"x": 0.5, "c": 0.4}) + sure("at")
    assert LANGUAGE.read(unsure) == "draw a cat"


def test_a_word_outside_the_lexicon_is_kept_when_it_is_clear() -> None:
    assert LANGUAGE.read(sure("draw a zyx")) == "draw a zyx"


def test_nothing_heard_is_nothing_read() -> None:
    assert LANGUAGE.read([]) == ""
    assert LANGUAGE.read([[0.0, *[-20.0] * len(ALPHABET)]] * 30) == ""


def test_an_empty_language_still_reads() -> None:
    assert SpeechLanguage({}, {}).read(sure("hello you")) == "hello you"


def test_a_saved_language_reads_the_same(tmp_path: Path) -> None:
    LANGUAGE.save_pretrained(tmp_path)
    assert SpeechLanguage.from_pretrained(tmp_path).pairs == LANGUAGE.pairs
