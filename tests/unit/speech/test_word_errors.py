"""Word error rate counts what must be mended."""

from __future__ import annotations

import pytest

from services.trainer.word_errors import word_error_rate


@pytest.mark.parametrize(
    ("heard", "rate"),
    [("a cat on a mat", 0.0), ("a cat on mat", 0.2), ("the cat on a mat please", 0.4), ("", 1.0)],
)
def test_each_word_changed_dropped_or_added_is_one_error(heard: str, rate: float) -> None:
    assert word_error_rate([("a cat on a mat", heard)]) == pytest.approx(rate)


def test_nothing_said_and_nothing_heard_is_no_error() -> None:
    assert word_error_rate([("", "")]) == 0.0
