"""What a recipe finds of earlier times, and what it refuses before it touches anything."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anygpt import pack as packs
from anygpt.errors import InvalidInput, Precondition
from services.trainer import commands, mini, order_commands, pack_commands
from services.trainer.recipe import Recipe, begin_with, held, pack_of, runs_of
from services.trainer.settable import SETTABLE, Settable
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


WEIGHTS = Path("image_codec") / "weights"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pack that comes with the system, of which a stage learns one part."""

    def learn(recipe: Recipe) -> None:
        (recipe.pack / WEIGHTS).parent.mkdir(parents=True, exist_ok=True)
        (recipe.pack / WEIGHTS).write_text("learned")

    known = dict.fromkeys(mini.all_stages(), print) | {"image.codec": learn}
    monkeypatch.setattr(mini, "all_stages", lambda: known)
    monkeypatch.setattr(packs, "packs_folder", lambda: tmp_path / "shipped")
    folder = tmp_path / "shipped" / "mini"
    for part in (WEIGHTS, Path("vocoder") / "weights"):
        (folder / part).parent.mkdir(parents=True)
        (folder / part).write_text("shipped")
    return folder


@pytest.mark.usefixtures("own_sigterm")
def test_one_stage_goes_on_from_a_copy_of_the_pack_that_is_shipped_and_tells_where_it_is(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands.mini(stage="image.codec", cache=tmp_path / "cache")
    pack = pack_of(tmp_path / "cache")
    assert (shipped / WEIGHTS).read_text() == "shipped"
    assert (pack / WEIGHTS).read_text() == "learned"
    assert (pack / "vocoder" / "weights").read_text() == "shipped"
    assert capsys.readouterr().out.endswith(f"anygpt pack build mini --out {pack}\n")


@pytest.mark.usefixtures("own_sigterm", "shipped")
@pytest.mark.parametrize("is_named", [False, True])
def test_all_stages_and_a_pack_that_is_named_begin_with_nothing(tmp_path: Path, is_named: bool) -> None:
    named = tmp_path / "named" if is_named else None
    commands.mini(stage="image.codec" if named else "", cache=tmp_path / "cache", folder=named)
    pack = named or pack_of(tmp_path / "cache")
    assert [path.name for path in pack.iterdir()] == [WEIGHTS.parent.name]


@pytest.mark.usefixtures("own_sigterm", "shipped")
@pytest.mark.parametrize("shared", ["pack", "runs"])
def test_two_commands_do_not_train_in_one_place(tmp_path: Path, shared: str) -> None:
    def learn() -> None:
        commands.mini(
            stage="image.codec", cache=tmp_path / "cache", folder=tmp_path / "pack", runs=tmp_path / "runs"
        )

    left = tmp_path / "runs" / "image.codec" / "checkpoint.safetensors"
    left.parent.mkdir(parents=True)
    left.touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with held(tmp_path / "link" / shared), pytest.raises(Precondition, match="another command") as caught:
        learn()
    assert (caught.value.reason, caught.value.field) == ("TRAINING_RUNS", shared)
    assert left.exists()
    assert not (tmp_path / "pack").exists()
    learn()
    assert not left.exists()


@pytest.mark.parametrize(
    "write",
    [
        lambda folder: pack_commands.build("mini", out=folder),
        lambda folder: commands.receive(folder, folder, folder / "cache"),
    ],
)
def test_no_pack_is_built_or_received_where_another_command_trains(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    with held(tmp_path), pytest.raises(Precondition, match="another command"):
        write(tmp_path)


@pytest.mark.parametrize("threads", ["-3", "-1"])
def test_fewer_than_no_threads_are_refused(threads: str) -> None:
    result = CliRunner().invoke(commands.train, ["mini", "--threads", threads])
    assert (result.exit_code, result.exception.__class__) == (2, SystemExit)


def test_a_copy_that_a_kill_stopped_is_no_pack_until_it_is_whole(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", killed)
        with pytest.raises(KeyboardInterrupt):
            begin_with(tmp_path / "mini", shipped)
    assert not (tmp_path / "mini").exists()
    begin_with(tmp_path / "mini", shipped)
    assert (tmp_path / "mini" / WEIGHTS).read_text() == "shipped"


def test_a_pack_that_was_begun_from_nothing_gets_no_part_of_another(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "mini").mkdir()
    begin_with(tmp_path / "mini", shipped)
    assert list((tmp_path / "mini").iterdir()) == []


def test_processes_that_could_not_share_a_stage_touch_nothing_and_are_told_what_to_set(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mini, "process_count", lambda: 2)
    monkeypatch.setitem(SETTABLE, "second", Settable())
    with pytest.raises(InvalidInput, match="give second a multiple of 2") as caught:
        mini.run_stages(recipe, CONFIGS, CONFIGS)
    assert caught.value.field == "second.shards"
    assert left(recipe) == ["first", "second", "third"]
    with pytest.raises(OSError, match="no space"):
        mini.run_stages(recipe, CONFIGS | {"second": StageConfig(shards=4)}, CONFIGS)
