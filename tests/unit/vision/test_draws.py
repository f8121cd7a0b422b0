from __future__ import annotations

from services.trainer.data import world
from services.trainer.data.draws import SceneDraws
from services.trainer.data.split import is_held_out


def test_what_is_drawn_for_training_is_never_held_out() -> None:
    draws = SceneDraws.open()
    scenes = (
        draws.scenes(draws.still(4000)) + draws.scenes(draws.moving(4000)) + draws.scenes(draws.faces(400))
    )
    assert not any(map(is_held_out, scenes))
    assert {scene.kind for scene in scenes} == set(world.kinds())
    assert {scene.motion for scene in scenes} == {"", *world.MOTIONS}


def test_a_fifth_of_pictures_is_held_out_and_of_clips_those_of_these_pictures_too() -> None:
    draws = SceneDraws.open()
    assert 0.18 < 1 - len(draws.stills) / len(world.scenes()) < 0.22
    assert 0.34 < 1 - len(draws.moved) / len(world.moving_scenes()) < 0.38


def test_faces_are_faces() -> None:
    draws = SceneDraws.open()
    assert all(world.emotion_of(scene.kind) for scene in draws.scenes(draws.faces(50)))
