from __future__ import annotations

from pathlib import Path

import pytest

from services.trainer.curve import Curve


@pytest.fixture
def curve(tmp_path: Path) -> Curve:
    """Two rows."""
    begun = Curve(tmp_path)
    begun.start(0)
    for step in (10, 20):
        begun.add(step, step / 10, 0.5)
    return begun


@pytest.mark.parametrize("torn", ["3", "30,3", "30,3.0,", "30,3.0,-"])
def test_a_curve_goes_on_before_a_row_that_a_full_disk_has_torn(curve: Curve, torn: str) -> None:
    with curve.path.open("a") as file:
        file.write(torn)
    curve.start(20)
    curve.add(30, 3.0, 0.25)
    assert curve.rows() == [(10, 1.0, 0.5), (20, 2.0, 0.5), (30, 3.0, 0.25)]


@pytest.mark.parametrize("content", ["", "ste", "step,seconds\n10,1.0\n"])
def test_a_curve_without_a_whole_head_has_no_rows(tmp_path: Path, content: str) -> None:
    (tmp_path / "loss.csv").write_text(content)
    assert Curve(tmp_path).rows() == []


def test_a_kill_as_a_run_goes_on_leaves_the_whole_curve(
    curve: Curve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            curve.start(10)
    assert [row[0] for row in curve.rows()] == [10, 20]
