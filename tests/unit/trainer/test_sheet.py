"""Samples of a run as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from services.trainer.loop import Run, train
from services.trainer.sheet import SAMPLES, WORDS_WIDE, Cell, Sheet, above, before, strip

RED = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 150, 150)


def saved(cells: list[Cell], path: Path, columns: int = 2) -> NDArray[np.uint8]:
    Sheet("", cells, columns).save(path / SAMPLES)
    with Image.open(path / SAMPLES) as picture:
        return np.asarray(picture.convert("RGB"))


def test_pictures_stand_in_rows_over_their_words(tmp_path: Path) -> None:
    sheet = saved([Cell(RED, "one"), Cell(-RED, "two"), Cell(RED)], tmp_path)
    assert sheet.shape[1] == 300
    assert sheet[75, 75].tolist() == sheet[-20, 75].tolist() == [255, 0, 0]
    assert sheet[75, 225].tolist() == [0, 255, 255]
    assert sheet[150:165, :150].min() < 128


def test_long_words_take_more_lines_and_phonetic_letters_are_drawn(tmp_path: Path) -> None:
    short, long = (saved([Cell(None, text)], tmp_path) for text in ("ðə", "ðə kwɪk bɹaʊn fɑks " * 12))
    assert short.shape[1] == long.shape[1] == WORDS_WIDE
    assert len(long) > 3 * len(short)
    assert short.min() < 128


def test_a_spectrogram_has_its_lowest_band_at_the_bottom(tmp_path: Path) -> None:
    bands = torch.full((80, 200), -9.0)
    bands[0] = 0.0
    sheet = saved([Cell(bands)], tmp_path)
    assert sheet[79, 100].min() > 100
    assert sheet[0, 100].max() < 20


def test_what_was_wanted_stands_before_and_above_what_was_found() -> None:
    assert above(RED, -RED).shape == (3, 300, 150)
    assert before(RED[0], -RED[0]).shape == (150, 300)
    assert strip(RED.expand(24, 3, 150, 150)).shape == (3, 150, 900)
    assert float(above(RED, -RED)[0, 0, 0]) == float(before(RED[0], -RED[0])[0, 0]) == 1.0


def test_a_run_leaves_samples_and_says_what_they_come_to(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = nn.Linear(2, 1)
    run = Run(tmp_path / "lines", steps=5)
    train(run, model, lambda _: model(torch.ones(1, 2)).square().mean(), lambda: Sheet("fine", [Cell(RED)]))
    assert "lines step 5: fine" in capsys.readouterr().out
    assert (run.folder / SAMPLES).exists()


def test_where_nothing_can_be_shown_there_is_no_picture(tmp_path: Path) -> None:
    Sheet("no data", []).save(tmp_path / SAMPLES)
    assert not (tmp_path / SAMPLES).exists()
