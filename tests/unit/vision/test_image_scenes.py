"""Things of scenes, as what sees them is taught."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch

from anygpt.pack import packs_folder
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.layout import PLACES
from anygpt_models.scene_recogniser import LayoutRecogniser
from services.trainer.data import composed, world
from services.trainer.data.scenes import Album
from services.trainer.image_recogniser import PART
from services.trainer.image_scenes import found, run_scenes
from services.trainer.pack import SCENES
from services.trainer.recipe import Recipe
from tests.unit.trainer.tiny_data import write_tiny_data


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_data(tmp_path_factory.mktemp("cache"))


def test_the_things_of_scenes_are_found_beside_their_pictures_alone(cache: Path) -> None:
    torch.manual_seed(0)
    pick = random.Random(0)
    scenes = [composed.draw(pick) for _ in range(24)]
    things = found(scenes, Album.open(cache))
    count = len(things.kinds)
    assert 0 < count <= sum(len(scene.things) for scene in scenes)
    assert things.windows.shape == things.plain.shape == (count, 3, 128, 128)
    middles = torch.tensor(list(PLACES.values()))[things.layout.places] * (2 / 3)
    assert float((things.poses[:, :2] - middles).abs().max()) < 0.2
    named = {world.kinds()[kind] for kind in things.kinds.tolist()}
    assert named <= {thing.kind for scene in scenes for thing in scene.things}


def test_a_stage_teaches_sizes_and_leaves_the_classes_of_the_recogniser_as_they_are(
    cache: Path, tmp_path: Path
) -> None:
    shutil.copytree(packs_folder() / "mini" / PART, tmp_path / PART)
    before = ImageRecogniser.open(tmp_path / PART).state_dict()
    run_scenes(
        Recipe(cache, tmp_path, tmp_path / "runs", steps=60, options={"warmup": 4, "learning_rate": 3e-3})
    )
    after = ImageRecogniser.open(tmp_path / PART).state_dict()
    for name in before:
        is_class = name.startswith(("kind.", "colour.", "emotion."))
        assert not is_class or torch.allclose(before[name].half(), after[name].half()), name
    assert any(not torch.equal(before[name], after[name]) for name in before)
    torch.manual_seed(1)
    pick = random.Random(5)
    things = found([composed.draw(pick, held_out=True) for _ in range(48)], Album.open(cache))
    features = ImageRecogniser.open(tmp_path / PART).features(things.windows)
    layout = LayoutRecogniser.open(tmp_path / SCENES).layout(features, things.windows, things.poses)
    assert torch.equal(layout.places, things.layout.places)
    assert float((layout.sizes == things.layout.sizes).float().mean()) > 0.6
