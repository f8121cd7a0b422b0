from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from services.trainer import alignment_reading
from services.trainer.recipe import Recipe


def test_half_way_between_before_and_after_is_the_same_when_the_stage_goes_on_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(projections: nn.Module, value: float) -> None:
        with torch.no_grad():
            for weight in projections.parameters():
                weight.fill_(value)

    def learn(_: Recipe, alignment: Any, *__: object, **___: object) -> None:
        fill(alignment.model.into, 4.0)

    monkeypatch.setattr(alignment_reading, "_described", learn)
    monkeypatch.setattr(alignment_reading, "keep", lambda *_: None)

    def half_way(first: float, *, resume: bool) -> float:
        projection = nn.Linear(1, 1)
        alignment: Any = SimpleNamespace(model=SimpleNamespace(into=nn.ModuleDict({"image": projection})))
        fill(projection, first)
        recipe = Recipe(tmp_path, tmp_path / "pack", tmp_path / "runs", "alignment.describe", resume=resume)
        alignment_reading.describe(recipe, alignment)
        return projection.weight.item()

    assert half_way(0.0, resume=False) == 2.0
    assert half_way(2.0, resume=True) == 2.0
    assert half_way(2.0, resume=False) == 3.0
