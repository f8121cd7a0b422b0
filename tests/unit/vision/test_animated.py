"""Animated things, as what sees them is taught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from anygpt.pack import packs_folder
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.video_recogniser import MotionRecogniser
from services.trainer.animated_cast import Cast
from services.trainer.data import world
from services.trainer.data.draws import MOTIONS
from services.trainer.data.split import is_held_out
from services.trainer.image_recogniser import PART
from services.trainer.recipe import Recipe
from services.trainer.video_animated import MOTION_PART, run_animated
from tests.unit.trainer.tiny_data import ANIMATED, write_tiny_data


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("cache"))


def test_only_animated_things_in_combinations_of_training_are_shown(cache: Path) -> None:
    torch.manual_seed(0)
    cast = Cast.open(cache)
    _, (kinds, colours, motions) = cast._drawn(torch.cat([cast.draws.stills, cast.draws.moved]), 400)
    scenes = cast.draws.scenes(torch.stack([kinds, colours, motions], 1))
    assert {scene.kind for scene in scenes} == set(ANIMATED)
    assert {scene.motion for scene in scenes} == set(MOTIONS)
    assert not any(is_held_out(scene) for scene in scenes)
    assert len({scene.colour for scene in scenes}) == len(world.COLOURS)


def test_a_clip_and_that_of_its_still_begin_alike_and_go_apart(cache: Path) -> None:
    torch.manual_seed(0)
    alive, still, motions = Cast.open(cache).clips(24)
    assert alive.shape == still.shape == (24, 24, 3, 32, 32)
    in_place = motions == 0
    assert float((still[in_place][:, :1] - still[in_place]).abs().max()) < 1e-5
    assert float((alive[in_place][:, :1] - alive[in_place]).abs().max()) > 0.5
    assert float((alive - still).abs().mean()) > 0.02


@pytest.fixture
def recipe(cache: Path, tmp_path: Path) -> Recipe:
    """The recognisers of the pack, which know no such things as those of the tiny data."""
    for part in (PART, MOTION_PART):
        shutil.copytree(packs_folder() / "mini" / part, tmp_path / part)
    return Recipe(cache, tmp_path, tmp_path / "runs", steps=16, options={"warmup": 4, "log_every": 4})


def test_animated_clips_come_nearer_to_their_stills_while_the_classes_stay(recipe: Recipe) -> None:
    torch.manual_seed(0)
    alive, still, _ = Cast.open(recipe.cache).clips(40)
    before = recipe.part(MotionRecogniser, MOTION_PART)
    classes = recipe.part(ImageRecogniser, PART).kind.weight
    run_animated(recipe)
    after, wanted = recipe.part(MotionRecogniser, MOTION_PART), before.features(still)
    far, near = (float((known.features(alive) - wanted).square().mean()) for known in (before, after))
    assert near < 0.9 * far
    torch.testing.assert_close(recipe.part(ImageRecogniser, PART).kind.weight, classes, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after.motion.weight, before.motion.weight, atol=1e-3, rtol=1e-3)
