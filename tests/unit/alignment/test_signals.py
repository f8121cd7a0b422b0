from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from anygpt.vocabulary import ModalityName
from services.trainer.alignment_signals import (
    FITTING,
    READING,
    Signals,
    balanced,
    kept_signals,
    lessons,
    read_within,
)


def test_kept_signals_stand_beside_their_captions_whatever_the_chunk(tmp_path: Path) -> None:
    for chunk, name in enumerate(("a cat", "a dog")):
        captions = json.dumps({"image": [name], "audio": [f"sound of {name}"]})
        tensors = {"image": torch.full((1, 4, 2), chunk).half(), "audio": torch.full((1, 8, 2), chunk).half()}
        save_file(tensors, tmp_path / f"{chunk:04}.safetensors", metadata={"captions": captions})
    found = kept_signals(tmp_path)
    assert found["image"].captions == ["a cat", "a dog"]
    assert found["image"].vectors[:, 0, 0].tolist() == [0.0, 1.0]
    assert found["audio"].vectors.shape == (2, 8, 2)


def test_reading_and_fitting_take_the_whole_of_the_minutes() -> None:
    assert READING + sum(FITTING.values()) == pytest.approx(1)


def test_what_one_thing_is_comes_before_where_three_things_are() -> None:
    shown = [
        "a cat on a red background",
        "a cat at the left on a red background",
        "a dog on a blue background",
    ]
    found = Signals(torch.arange(3.0)[:, None, None], shown)
    (first, single, some), (last, whole, rest) = lessons("image", found)
    assert first != last
    assert single.captions == [shown[0], shown[2]]
    assert single.vectors.flatten().tolist() == [0.0, 2.0]
    assert whole is found
    assert some + rest == 1
    assert lessons("image", single) == [("image", single, 1.0)]


def test_single_things_and_scenes_are_fitted_equally_often() -> None:
    weights = balanced([True, True, True, False])
    assert weights[:3].sum() == weights[3]
    assert balanced([False, False]).tolist() == [0.5, 0.5]


def test_a_resume_reads_no_more_than_was_left_of_the_minutes(tmp_path: Path) -> None:
    read = list[int]()

    def slowly(chunk: int) -> dict[ModalityName, Signals]:
        if len(read) == 1:
            raise KeyboardInterrupt
        read.append(chunk)
        time.sleep(0.2)
        return {"image": Signals(torch.full((1, 4, 2), chunk).half(), [f"caption {chunk}"])}

    def go_on() -> None:
        read_within(tmp_path, chunks=9, minutes=0.39 / 60, read=slowly)

    with pytest.raises(KeyboardInterrupt):
        go_on()
    read.append(-1)
    go_on()
    assert read == [0, -1, 1]
    found = kept_signals(tmp_path)["image"].captions
    go_on()
    assert kept_signals(tmp_path)["image"].captions == found == ["caption 0", "caption 1"]
