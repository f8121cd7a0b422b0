"""What a recipe finds of earlier times, and what it refuses before it touches anything."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from anygpt.errors import InvalidInput
from services.trainer import commands, mini, order_commands
from services.trainer.recipe import Recipe, runs_of
from services.trainer.stage_config import StageConfig

CONFIGS = {name: StageConfig() for name in ("first", "second", "third")}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """A recipe of three stages that were all run some time ago, of which the first breaks now."""

    def breaks(_: Recipe) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(mini, "all_stages", lambda: {"first": breaks, "second": print, "third": print})
    recipe = Recipe(tmp_path / "cache", tmp_path / "pack", tmp_path / "runs")
    for name in CONFIGS:
        old = recipe.runs / name / "run" / "checkpoint.safetensors"
        old.parent.mkdir(parents=True)
        old.touch()
    return recipe


def left(recipe: Recipe) -> list[str]:
    return sorted(path.name for path in recipe.runs.iterdir())


def test_a_recipe_begun_anew_leaves_nothing_old_that_its_resume_could_take_for_its_own(
    recipe: Recipe,
) -> None:
    with pytest.raises(OSError, match="no space"):
        mini.run_stages(recipe, CONFIGS, ["first", "second"])
    assert left(recipe) == ["third"]


def test_a_recipe_that_goes_on_keeps_what_it_had(recipe: Recipe) -> None:
    resumed = Recipe(recipe.cache, recipe.pack, recipe.runs, resume=True)
    with pytest.raises(OSError, match="no space"):
        mini.run_stages(resumed, CONFIGS, ["first", "second"])
    assert left(recipe) == ["first", "second", "third"]


def test_two_packs_of_one_name_have_runs_of_their_own(tmp_path: Path) -> None:
    one, other = (runs_of(tmp_path, tmp_path / parent / "mini") for parent in ("one", "other"))
    assert one != other
    assert {one.parent, other.parent} == {tmp_path / "runs"}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"minutes": math.nan}, "--minutes"),
        ({"minutes": 0.0}, "--minutes"),
        ({"steps": -1}, "--steps"),
        ({"part": math.nan}, "--part"),
        ({"stage": "image.kodec"}, "--stage"),
    ],
)
def test_a_budget_that_is_none_is_refused(tmp_path: Path, options: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        commands.mini(**options, cache=tmp_path, folder=tmp_path / "pack")  # type: ignore[arg-type]
    assert caught.value.field == field
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "field"), [({"minutes": math.nan}, "--minutes"), ({"stage": "image.kodec"}, "--stage")]
)
def test_an_order_that_no_trainer_could_do_is_not_queued(options: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        order_commands.submit(**options, broker="redis://127.0.0.1:1")  # type: ignore[arg-type]
    assert caught.value.field == field
