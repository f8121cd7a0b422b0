"""Speech units spell any text, and only what can be said of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from anygpt_models.speech_text import ALPHABET, cardinal, ordinal, phrases, spoken
from anygpt_models.speech_units import UNIT_COUNT, SpeechUnits, choose_units
from services.trainer.base_model import SPACE

PACK = Path(__file__).parents[3] / "shared" / "packs" / "mini"
UNITS = SpeechUnits.from_pretrained(PACK / "speech_units")
TOKENIZER = Tokenizer.from_file(str(PACK / "tokenizer" / "tokenizer.json"))


def test_the_pack_holds_every_letter_among_its_units() -> None:
    assert len(UNITS) == UNIT_COUNT
    assert set(ALPHABET) <= set(UNITS.pieces)


@given(st.lists(st.sampled_from(UNITS.pieces), min_size=1).map("".join).map(spoken))
def test_units_are_the_tokens_that_the_language_model_reads(text: str) -> None:
    ours = [UNITS.pieces[unit].replace(" ", SPACE) for unit in UNITS.encode(text)]
    theirs = TOKENIZER.encode(f" {text}", add_special_tokens=False).tokens if text else []
    rare = {token for token in theirs if token.replace(SPACE, " ") not in UNITS.pieces}
    assert rare or "'" in text or ours == theirs


@given(st.text())
@settings(max_examples=300)
def test_any_text_comes_back_in_its_spoken_form(text: str) -> None:
    codes = UNITS.encode(text)
    assert UNITS.decode(codes) == UNITS.normalise(text) == spoken(spoken(text))
    assert all(0 <= code < UNIT_COUNT for code in codes)


@given(st.text(alphabet=ALPHABET), st.integers(min_value=0))
def test_units_may_be_cut_anywhere_and_joined_again(text: str, place: int) -> None:
    codes = UNITS.encode(text)
    cut = place % (len(codes) + 1)
    assert " ".join((UNITS.join(codes[:cut]) + UNITS.join(codes[cut:])).split()) == UNITS.decode(codes)


def test_a_common_word_is_one_unit_and_a_rare_one_is_spelled() -> None:
    sentence = "draw a cat on a blue background and play sad piano music"
    assert len(UNITS.encode(sentence)) == len(sentence.split())
    assert 2 < len(UNITS.encode("zyzzyva")) <= len("zyzzyva")


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


@pytest.mark.parametrize("code", [-1, UNIT_COUNT])
def test_a_code_outside_the_inventory_is_refused(code: int) -> None:
    with pytest.raises(ValueError, match=rf"0\.\.{UNIT_COUNT - 1}"):
        UNITS.decode([code])


@given(st.lists(st.sampled_from(["and", "in", "cat", "dog", "runs", "with"]), max_size=40))
def test_phrases_hold_every_word_in_order_and_no_more_than_eight(words: list[str]) -> None:
    cut = phrases(" ".join(words))
    assert " ".join(cut).split() == words
    assert all(1 <= len(phrase.split()) <= 8 for phrase in cut)


MERGES = [
    ("a", "n"),
    (" ", "b"),
    ("b", "an"),
    (" b", "an"),
    (" ban", "an"),
    (" banan", "a"),
    ("!", "a"),
    ("x", "y"),
]


def test_units_are_chosen_by_use_with_all_that_they_are_merged_from(tmp_path: Path) -> None:
    words = {"banana": 5, "ban": 3, "xylophone": 1}
    chosen = choose_units(words, MERGES, len(ALPHABET) + 5)
    assert chosen.pieces[len(ALPHABET) :] == ["an", " b", " ban", " banan", " banana"]
    assert choose_units(dict(reversed(words.items())), MERGES, len(ALPHABET) + 5).pieces == chosen.pieces
    chosen.save_pretrained(tmp_path)
    again = SpeechUnits.from_pretrained(tmp_path)
    assert len(again.encode("banana")) == 1
    assert again.decode(again.encode("a banana xylophone")) == "a banana xylophone"


def test_a_unit_that_would_need_more_room_than_is_left_is_passed_over() -> None:
    chosen = choose_units({"banana": 5, "xylophone": 1}, MERGES, len(ALPHABET) + 1)
    assert chosen.pieces[len(ALPHABET) :] == ["xy"]
