"""Time marks stand between the codes of a span, wherever it is written, and are no codes."""

from __future__ import annotations

import random
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anygpt.pack import OutputEntry, SamplingEntry
from anygpt.topology import SPEECH, VIDEO
from anygpt.vocabulary import BracketsBlock, CodesBlock, MarksBlock, Vocabulary, VocabularyLayout
from services.llm.grammar import Grammar, Rules

CODES = CodesBlock(modality="video", count=32, cycle=2, token="<v{}>")
BRACKETS = BracketsBlock(modalities=("video",), begin="<sovi>", end="<eovi>")

marked = st.builds(
    MarksBlock,
    modality=st.just("video"),
    count=st.integers(1, 5),
    after=st.integers(0, 5).map(lambda frames: 2 * frames),
    every=st.integers(1, 4).map(lambda frames: 2 * frames),
    token=st.just("<t{}>"),
)


def vocabulary_of(marks: MarksBlock) -> Vocabulary:
    return Vocabulary(VocabularyLayout(text_size=10, blocks=(CODES, marks, BRACKETS)))


def as_written(marks: MarksBlock, codes: list[int]) -> list[str]:
    """Codes and marks in words, by counting frames as a person would."""
    words: list[str] = []
    for place, code in enumerate(codes):
        since = place - marks.after
        if since >= 0 and since % marks.every == 0 and since // marks.every < marks.count:
            words.append(f"<t{since // marks.every}>")
        words.append(f"<v{code}>")
    return words


@given(marked, st.lists(st.integers(0, 31), max_size=60))
def test_codes_come_back_from_among_their_marks(marks: MarksBlock, codes: list[int]) -> None:
    vocabulary = vocabulary_of(marks)
    ids = vocabulary.to_ids(VIDEO, codes)
    texts = vocabulary.token_texts()
    assert [texts[token - 10] for token in ids] == as_written(marks, codes)
    assert vocabulary.span_length(VIDEO, len(codes)) == len(ids)
    assert vocabulary.to_codes(VIDEO, ids) == codes


@given(
    marked,
    st.integers(0, 12),
    st.one_of(st.just(0), st.integers(12, 40)),
    st.integers(20, 60),
    st.integers(24, 90),
    st.randoms(use_true_random=False),
)
def test_any_span_that_the_grammar_allows_is_one_that_codes_are_written_as(
    marks: MarksBlock, fewest: int, most: int, budget: int, room: int, pick: random.Random
) -> None:
    vocabulary = vocabulary_of(marks)
    output = OutputEntry(
        path="codes", min_count=fewest, max_count=most, sampling=SamplingEntry(max_tokens=budget)
    )
    rules = Rules(vocabulary, {VIDEO: output}, (range(9),), (9,))
    grammar = Grammar(rules, [VIDEO], {VIDEO: budget}, room)
    media = range(10, vocabulary.brackets[VIDEO].begin)
    ids: list[int] = []
    while not grammar.is_done:
        choices = [pick.choice(ids) for ids in grammar.choice().ranges]
        token = grammar.resolve(max(choices, key=lambda token: (token in media) + pick.random() / 0.9))
        assert token in grammar.choice()
        grammar.advance(token)
        ids.append(token)
    assert len(ids) <= room
    while vocabulary.brackets[VIDEO].begin in ids:
        start = ids.index(vocabulary.brackets[VIDEO].begin) + 1
        span = list(takewhile(lambda token: token != vocabulary.brackets[VIDEO].end, ids[start:]))
        codes = vocabulary.to_codes(VIDEO, span)
        assert vocabulary.to_ids(VIDEO, codes) == span
        assert len(span) <= budget
        assert fewest <= len(codes) <= (most or len(codes))
        assert len(codes) % 2 == 0
        ids = ids[start + len(span) :]


def test_marks_of_what_has_no_codes_and_marks_within_a_cycle_are_refused() -> None:
    marks = MarksBlock(modality="video", count=2, every=4, token="<t{}>")
    with pytest.raises(ValueError, match="which has no codes"):
        VocabularyLayout(text_size=10, blocks=(BRACKETS, marks))
    for broken in ({"every": 3}, {"after": 1}):
        with pytest.raises(ValueError, match="part codes that belong together"):
            vocabulary_of(marks.model_copy(update=broken))


def test_what_has_no_marks_is_written_as_its_codes_alone() -> None:
    marks = MarksBlock(modality="video", count=2, every=4, token="<t{}>")
    speech = CodesBlock(modality="speech", count=4, token="<s{}>")
    vocabulary = Vocabulary(VocabularyLayout(text_size=10, blocks=(CODES, marks, BRACKETS, speech)))
    first = vocabulary.codes[SPEECH].first
    assert vocabulary.to_ids(SPEECH, [0, 1, 2, 3] * 3) == [first, first + 1, first + 2, first + 3] * 3
    assert vocabulary.span_length(SPEECH, 12) == 12
