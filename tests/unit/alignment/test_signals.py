from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from services.trainer.alignment_signals import FITTING, READING, kept_signals


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
