from __future__ import annotations

import math
from pathlib import Path

import pytest

from anygpt.errors import InvalidInput
from anygpt_models.vocoder import Vocoder
from services.trainer.mini import all_stages, stages
from services.trainer.recipe import Recipe
from services.trainer.stage_config import GPU, MINI, StageConfig, read_config


def written(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="latin-1")
    return path


def test_the_config_of_mini_names_stages_that_there_are_and_fits_its_budget() -> None:
    configs = read_config(MINI, all_stages())
    assert list(configs) == list(all_stages())
    assert sum(configs[name].minutes for name in stages() if configs[name].minutes < math.inf) == 150


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('["image.codec"]\nlearningrate = 1', "image.codec.learningrate"),
        ('["image.codec"]\nsteps = -1', "image.codec.steps"),
        ('["image.codec"]\nsteps = "many"', "image.codec.steps"),
        ('["image.kodec"]\nsteps = 1', "image.kodec"),
        ("image.codec", "--config"),
        ('["image.codec"]\nminutes = nan', "image.codec.minutes"),
        ('["image.codec"]\nlearning_rate = inf', "image.codec.learning_rate"),
        ('["image.codec"]\namounts = { dialogues = 0 }', "image.codec.amounts.dialogues"),
        pytest.param('["image.codec"]\nseed = ' + "9" * 5000, "--config", id="a number of 5,000 digits"),
        pytest.param('["image.codec"]\nseed = 99999999999999999999', "image.codec.seed", id="a large seed"),
        pytest.param("a = " + "[" * 20_000, "--config", id="lists in lists"),
        pytest.param("# caf\xe9", "--config", id="no UTF-8"),
    ],
)
def test_what_is_wrong_in_a_config_is_named_by_stage_and_key(tmp_path: Path, text: str, field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_config(written(tmp_path, text), ["image.codec"])
    assert caught.value.field == field


def test_a_config_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"no config none\.toml"):
        read_config(tmp_path / "none.toml", [])


def test_a_config_goes_before_what_a_stage_chose_and_the_command_line_before_both(tmp_path: Path) -> None:
    config = StageConfig(minutes=3, learning_rate=0.5, shards=2)
    run = config.applied(Recipe(tmp_path, tmp_path, tmp_path), None, 7).run("x", learning_rate=0.1, warmup=9)
    assert (run.minutes, run.steps, run.learning_rate, run.warmup, run.shards) == (3, 7, 0.5, 9, 2)


def test_a_config_sets_batch_sizes_and_amounts_of_a_stage(tmp_path: Path) -> None:
    text = '["image.codec"]\nbatch = 4\nsizes = { vocoder = { channels = 8 } }\namounts = { dialogues = 5 }'
    config = read_config(written(tmp_path, text), ["image.codec"])["image.codec"]
    recipe = config.applied(Recipe(tmp_path, tmp_path, tmp_path), None, None)
    assert recipe.many(6) == 24
    assert recipe.build(Vocoder, "vocoder", blocks=1).setting("channels") == 8
    assert recipe.amount({"dialogues": 9, "chunks": 2}) == {"dialogues": 5, "chunks": 2}


def test_a_size_or_an_amount_that_no_stage_knows_is_named(tmp_path: Path) -> None:
    recipe = Recipe(tmp_path, tmp_path, tmp_path, sizes={"vocoder": {"width": 1}}, amounts={"pictures": 1})
    with pytest.raises(InvalidInput) as caught:
        recipe.build(Vocoder, "vocoder")
    assert caught.value.field == "sizes.vocoder.width"
    broken = Recipe(tmp_path, tmp_path, tmp_path, sizes={"vocoder": {"blocks": 1.5}})
    with pytest.raises(InvalidInput, match="Vocoder cannot be built so") as caught:
        broken.build(Vocoder, "vocoder")
    assert caught.value.field == "sizes.vocoder"
    with pytest.raises(InvalidInput) as caught:
        recipe.amount({"dialogues": 9})
    assert caught.value.field == "amounts.pictures"


def test_a_part_of_the_time_is_a_part_of_every_stage_that_has_a_budget() -> None:
    whole = {name: one for name, one in read_config(GPU, all_stages()).items() if name in stages()}
    half = {name: one.in_part(0.5) for name, one in whole.items()}
    assert sum(one.minutes for one in half.values() if one.minutes < math.inf) <= 12.5
    assert all(half[name].minutes == whole[name].minutes / 2 for name in whole)
    assert all(half[name].amounts == whole[name].amounts for name in whole)
