"""What `anygpt serve` arranges before anything heavy is loaded."""

from __future__ import annotations

import os

import pytest

from anygpt.settings import let_idle_threads_sleep


@pytest.mark.parametrize(("told", "kept"), [(None, "passive"), ("active", "active")])
def test_idle_threads_sleep_unless_an_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, told: str | None, kept: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", told or "")
    if told is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    let_idle_threads_sleep()
    assert os.environ["OMP_WAIT_POLICY"] == kept
