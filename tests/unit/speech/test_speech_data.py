"""What the recogniser learns from: rows with every word, sentences that go on as others do, words as they are said."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from anygpt_models.spectrogram import HOP, SAMPLE_RATE
from services.trainer.data.sentences import word_rows
from services.trainer.data.speech import COMMA, END, GAP, Utterance
from services.trainer.pronunciations import pronounced
from services.trainer.speech_batches import Spoken, labels, plain_sounds, spliced, targets

FRAME_S = HOP / SAMPLE_RATE


def utterance(text: str, *words: str) -> Utterance:
    """Words in phonemes, two frames each; a word may end in a comma."""
    symbols = [*[symbol for word in words for symbol in (*word, GAP)][:-1], END]
    return Utterance(text, symbols, [2 * FRAME_S] * len(symbols), 2 * len(symbols) * HOP)


def spoken(each: Utterance, voice: int = 0) -> Spoken:
    """A mel in half precision, as they are kept, in which each frame holds the code of its symbol."""
    codes = [float(ord(symbol[-1])) for symbol in each.symbols for _ in range(2)]
    return Spoken(each, torch.tensor(codes).expand(80, -1).half(), voice)


ROWS = [
    spoken(utterance("see the cat", "si", "də", "kat")),
    spoken(utterance("draw a hat now", "do", "ə", f"hat{COMMA}", "naw")),
    spoken(utterance("play", "ple")),
]


def test_every_word_comes_once_a_round() -> None:
    words = [f"word{number}" for number in range(20)]
    rows = word_rows(words, rounds=3)
    assert Counter(word for row in rows for word in row.split()) == Counter(words * 3)
    assert len(set(rows)) == len(rows)
    assert rows == word_rows(words, rounds=3)


@pytest.mark.parametrize("seed", range(5))
def test_a_spliced_row_is_heard_as_it_is_written(seed: int) -> None:
    torch.manual_seed(seed)
    with torch.autocast("cpu", torch.bfloat16):
        rows = spliced(ROWS * 4)
    for row in rows:
        said = plain_sounds(row.utterance, " sidəkathonwple")
        assert len(said.split()) == len(row.utterance.text.split())
        assert row.mel.shape[-1] == 2 * len(row.utterance.symbols)
        assert row.mel[0, ::2].tolist() == [float(ord(symbol[-1])) for symbol in row.utterance.symbols]


def test_some_rows_are_new_and_no_two_voices_share_one() -> None:
    torch.manual_seed(0)
    known = {row.utterance.text for row in ROWS}
    assert any(row.utterance.text not in known for row in spliced(ROWS * 8))
    apart = [spoken(row.utterance, voice) for voice, row in enumerate(ROWS)]
    assert spliced(apart) == apart


def test_targets_are_phonemes_without_stress_and_pauses() -> None:
    stressed = Utterance("see the", ["s", "\u02c8i", COMMA, GAP, "d", "ə", END], [FRAME_S] * 7, 7 * HOP)
    found, sizes = targets([plain_sounds(stressed, " sidə")], " sidə")
    assert found.tolist() == [2, 3, 1, 4, 5]
    assert sizes.tolist() == [5]


def test_labels_say_what_sounds_in_each_frame() -> None:
    assert labels(ROWS[:1], [GAP, "s", "i"])[0].tolist()[:6] == [1, 1, 2, 2, 0, 0]


def test_a_word_has_the_pronunciations_that_are_heard_and_the_lexicon_fills_in() -> None:
    heard = [utterance("the cat", "də", "kat")] * 40 + [utterance("the end", "di", "end")] * 40
    odd = [utterance("cat", "kit")]
    packaged = {
        "dog": "d\u02c8ɔɡ",
        "cat": "k\u02c8æt",
        "Rome": "\u0279Om",
        "Dog": "x",
        "USA": "A",
        "set-up": "s",
    }
    found = pronounced([*heard, *odd], packaged)
    written = {"the": ["də", "di"], "cat": ["kat"], "end": ["end"], "dog": ["dɔɡ"], "rome": ["\u0279Om"]}
    assert found == written
