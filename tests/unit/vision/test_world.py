from __future__ import annotations

import torch

from anygpt_models.caption import CaptionEncoder
from services.trainer.data import videos, world


def test_captions_read_as_a_person_would_say_them() -> None:
    assert world.caption(world.Scene("cat", "blue")) == "a cat on a blue background"
    assert (
        world.caption(world.Scene("apple", "orange", "left"))
        == "an apple moving left on an orange background"
    )
    assert world.caption(world.Scene("happy face", "white")) == "a happy face on a white background"
    assert (
        world.caption(world.Scene("sunglasses", "grey", "spin")) == "sunglasses spinning on a grey background"
    )
    assert world.music_caption("piano", "sad") == "sad piano music"
    assert world.sound_caption("rain") == "the sound of rain"


def test_every_scene_has_a_caption_of_its_own() -> None:
    captions = [world.caption(scene) for scene in [*world.scenes(), *world.moving_scenes()]]
    assert len(set(captions)) == len(captions)


def test_no_two_words_of_the_world_share_an_embedding() -> None:
    words = sorted(
        {word for scene in world.moving_scenes() for word in world.caption(scene).split()} - {"a", "an"}
    )
    rows = CaptionEncoder(inner=32, depth=1).tokens(words)[:, 0]
    assert len(rows.unique(dim=0)) == len(words)


def test_every_emotion_calls_for_a_mood_of_music() -> None:
    assert set(world.MOOD_OF_EMOTION) == set(world.EMOTIONS)
    assert set(world.MOOD_OF_EMOTION.values()) <= set(world.MOODS)


def test_the_key_frame_is_not_moved_against_itself() -> None:
    for motion in world.MOTIONS:
        still = videos.relative_poses(videos.motion_poses(motion))[videos.KEY_FRAME]
        assert (still - torch.eye(2, 3)).abs().max() < 1e-5
