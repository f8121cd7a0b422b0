"""Word error rate: the share of words that must be inserted, dropped or replaced to mend what was heard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def word_error_rate(pairs: Iterable[tuple[str, str]]) -> float:
    """(said, heard) sentences -> errors per word said."""
    counted = [(edits(said.split(), heard.split()), len(said.split())) for said, heard in pairs]
    return sum(errors for errors, _ in counted) / max(1, sum(words for _, words in counted))


def edits(said: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein distance between two sequences."""
    row = list(range(len(heard) + 1))
    for place, expected in enumerate(said, 1):
        previous, row = row, [place]
        for other, found in enumerate(heard, 1):
            row.append(min(previous[other] + 1, row[-1] + 1, previous[other - 1] + (expected != found)))
    return row[-1]
