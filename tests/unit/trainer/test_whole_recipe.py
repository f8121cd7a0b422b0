"""The recipe from nothing to a pack, every stage in its order, judges included."""

from __future__ import annotations

from pathlib import Path

import pytest

from anygpt.pack import open_pack
from services.trainer.mini import all_stages, run_stages, stages
from services.trainer.pack_check import check
from services.trainer.recipe import Recipe
from services.trainer.stage_config import MINI, read_config
from tests.unit.trainer.rehearsal import AMOUNTS
from tests.unit.trainer.tiny_data import write_tiny_data

SPOKEN = "speech.data"
"""The tiny data have voices of their own."""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_pack_is_made_from_an_empty_folder(tmp_path: Path) -> None:
    recipe = Recipe(write_tiny_data(tmp_path / "cache"), tmp_path / "made", tmp_path / "runs")
    configs = {
        name: config.model_copy(update={"amounts": AMOUNTS.get(name, {}), "save_every": 1})
        for name, config in read_config(MINI, all_stages()).items()
    }
    run_stages(recipe, configs, [name for name in stages() if name != SPOKEN], steps=2)
    made = open_pack(str(recipe.pack))
    assert set(made.manifest.modalities) == {"text", "image", "video", "speech", "audio"}
    assert check(made) == []


def test_what_is_said_is_judged_when_there_is_a_vocoder() -> None:
    order = list(stages())
    assert order.index("audio.vocoder") < order.index("speech.judge")
