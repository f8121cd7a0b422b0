from __future__ import annotations

import pytest
from torch import nn
from typer.testing import CliRunner

from services.trainer.commands import train
from services.trainer.parameter_table import trained_rows
from services.trainer.parameters import published_share, recipe_rows
from services.trainer.published import ANYGPT_7B, NEXTGPT_7B


def test_next_gpt_at_its_own_sizes_has_the_published_figures() -> None:
    rows = recipe_rows(NEXTGPT_7B)
    counts = {row.part: row.count for row in rows if row.trained}
    assert counts["LoRA, rank 32, on q k v o"] == 33_554_432
    assert counts["image output projection"] == 31_958_784
    assert counts["video output projection"] == 32_090_112
    assert counts["audio output projection"] == 31_788_544
    assert published_share(rows) == pytest.approx(0.0125, abs=0.0003)


def test_the_language_models_have_their_published_sizes() -> None:
    rows = {recipe.name: recipe_rows(recipe)[0] for recipe in (NEXTGPT_7B, ANYGPT_7B)}
    assert rows["nextgpt-7b"].count == 6_738_415_616
    assert not rows["nextgpt-7b"].trained
    assert rows["anygpt-7b"].count - rows["nextgpt-7b"].count == (49_420 - 32_000) * 4096 * 2
    assert rows["anygpt-7b"].trained


def test_a_model_in_training_is_counted_by_part_frozen_and_not() -> None:
    model = nn.ModuleDict({"base": nn.Linear(3, 4).requires_grad_(False), "head": nn.Linear(4, 2)})
    found = [(row.part, row.count, row.trained) for row in trained_rows(model)]
    assert found == [("base", 16, False), ("head", 10, True)]


def test_the_table_is_printed_by_one_command() -> None:
    result = CliRunner().invoke(train, ["params", "nextgpt-7b"])
    assert result.exit_code == 0, result.output
    for figure in ("33,554,432", "31,958,784", "32,090,112", "31,788,544", "1.2"):
        assert figure in result.output
    own = CliRunner().invoke(train, ["params", "mini"])
    assert "llm_adapter" in own.output
