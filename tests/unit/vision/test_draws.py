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


def test_a_fifth_of_the_single_scenes_is_held_out() -> None:
    draws = SceneDraws.open()
    for kept, every in ((draws.stills, world.scenes()), (draws.moved, world.moving_scenes())):
        assert 0.18 < 1 - len(kept) / len(every) < 0.22


def test_faces_are_faces() -> None:
    draws = SceneDraws.open()
    assert all(world.emotion_of(scene.kind) for scene in draws.scenes(draws.faces(50)))
