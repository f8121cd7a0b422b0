"""Speech units spell any text, and only what can be said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anygpt_models.speech_text import ALPHABET, cardinal, ordinal, phrases, spoken
from anygpt_models.speech_units import SpeechUnits, learn_units

PACK = Path(__file__).parents[3] / "shared" / "packs" / "mini"
UNITS = SpeechUnits.from_pretrained(PACK / "speech_units")


def test_the_pack_holds_exactly_1024_units_with_every_letter_among_them() -> None:
    assert len(UNITS) == 1024
    assert set(ALPHABET) <= set(UNITS.pieces)


@given(st.text())
@settings(max_examples=300)
def test_any_text_comes_back_in_its_spoken_form(text: str) -> None:
    codes = UNITS.encode(text)
    assert UNITS.decode(codes) == UNITS.normalise(text) == spoken(spoken(text))
    assert all(0 <= code < 1024 for code in codes)


@given(st.text(alphabet=ALPHABET), st.integers(min_value=0))
def test_units_may_be_cut_anywhere_and_joined_again(text: str, place: int) -> None:
    codes = UNITS.encode(text)
    cut = place % (len(codes) + 1)
    assert " ".join((UNITS.join(codes[:cut]) + UNITS.join(codes[cut:])).split()) == UNITS.decode(codes)


def test_common_words_take_few_units() -> None:
    sentence = "draw a cat on a blue background and play sad piano music"
    assert len(UNITS.encode(sentence)) <= 1.5 * len(sentence.split())


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("It costs $12.50!", "it costs twelve dollars fifty"),
        (
            "1,250 people on May 21st, 1984",
            "one thousand two hundred and fifty people on may twenty first nineteen eighty four",
        ),
        ("at 7:05 or 12:00", "at seven oh five or twelve o'clock"),
        ("Don\u2019t 'quote' me \u2014 caf\u00e9 & 3.14", "don't quote me cafe and three point one four"),
        ("\u4f60\u597d ... !?", ""),
        ("9" * 40, " ".join(["nine"] * 40)),
    ],
)
def test_numbers_signs_and_case_are_written_as_they_are_said(written: str, said: str) -> None:
    assert spoken(written) == said


def test_ranks_and_counts_follow_each_other() -> None:
    assert [cardinal(number) for number in (0, 17, 40, 101, 1_000_000)] == [
        "zero", "seventeen", "forty", "one hundred and one", "one million",
    ]  # fmt: skip
    assert [ordinal(number) for number in (1, 12, 20, 33)] == [
        "first",
        "twelfth",
        "twentieth",
        "thirty third",
    ]


@pytest.mark.parametrize("code", [-1, 1024])
def test_a_code_outside_the_inventory_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1023"):
        UNITS.decode([code])


@given(st.lists(st.sampled_from(["and", "in", "cat", "dog", "runs", "with"]), max_size=40))
def test_phrases_hold_every_word_in_order_and_no_more_than_eight(words: list[str]) -> None:
    cut = phrases(" ".join(words))
    assert " ".join(cut).split() == words
    assert all(1 <= len(phrase.split()) <= 8 for phrase in cut)


def test_learning_is_reproducible_and_saves_what_it_learned(tmp_path: Path) -> None:
    words = {"banana": 5, "bandana": 3, "cabana": 2}
    first, second = learn_units(words, 36), learn_units(dict(reversed(words.items())), 36)
    assert first.pieces == second.pieces
    first.save_pretrained(tmp_path)
    assert SpeechUnits.from_pretrained(tmp_path).encode("a banana") == first.encode("a banana")
    assert len(first.encode("banana")) < len("banana")
