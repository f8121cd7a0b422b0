from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from services.trainer.data import world
from services.trainer.data.scenes import place
from services.trainer.data.sounds import synthesise
from services.trainer.data.split import is_chosen, is_held_out
from services.trainer.data.videos import motion_poses
from services.trainer.evaluation.judges import colour, words
from services.trainer.evaluation.judges.motion import motion
from services.trainer.evaluation.judges.objects import ObjectJudge
from services.trainer.evaluation.judges.timbre import SOUND, TimbreJudge

RATE = 16_000


def film(name: str) -> Tensor:
    """A red triangle before grey, in a motion."""
    rgba = torch.zeros(1, 4, 64, 64)
    for row in range(12, 52):
        rgba[:, 0, row, 20 : 20 + (row - 12)] = 1.0
        rgba[:, 3, row, 20 : 20 + (row - 12)] = 1.0
    rgba[:, 1, 12:30] = rgba[:, 3, 12:30]
    poses = motion_poses(name)
    return place(rgba.expand(len(poses), -1, -1, -1), torch.full((len(poses), 3), 0.3), poses)


@pytest.mark.parametrize("name", list(world.MOTIONS))
def test_the_motion_of_a_clip_is_told_from_its_frames(name: str) -> None:
    assert motion(film(name)) == name


@pytest.mark.parametrize("name", list(world.COLOURS))
def test_the_colour_of_a_background_is_told_from_its_border(name: str) -> None:
    pixels = (torch.tensor(world.COLOURS[name]).float() / 127.5 - 1)[:, None, None].repeat(1, 32, 32)
    pixels[:, 8:24, 8:24] = 0.0
    assert colour.colour(pixels + 0.05 * torch.randn_like(pixels)) == name


@pytest.mark.parametrize(
    ("text", "kind", "colour"),
    [
        ("This is a green apple on a red background.", "green apple", "red"),
        ("Here is a hot dog on a white background.", "hot dog", "white"),
        ("It was a cat.", "cat", ""),
        ("A cat and a dog on a blue background", "", "blue"),
        ("This is an orange on an orange background.", "orange", "orange"),
        ("This is a tent on an orange background.", "tent", "orange"),
        ("The background is orange.", "", "orange"),
        ("A cat on a red background, and a dog on a blue background.", "", ""),
        ("category", "", ""),
    ],
)
def test_words_name_one_thing_and_one_colour_or_nothing(text: str, kind: str, colour: str) -> None:
    assert words.kind(text) == kind
    assert words.colour(text) == colour


def test_words_name_motions_moods_instruments_and_sounds() -> None:
    assert words.motion("A cat that is getting bigger.") == "grow"
    assert words.motion("It is moving left, then moving right.") == ""
    assert (words.mood("calm harp music"), words.instrument("calm harp music")) == ("calm", "harp")
    assert [words.sound(world.sound_caption(name)) for name in world.SOUNDS] == list(world.SOUNDS)


def test_timbres_are_told_apart_and_sounds_are_not_taken_for_instruments() -> None:
    generator = np.random.default_rng(0)
    time = np.arange(RATE) / RATE

    def wave(harmonics: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        pitch = 200 * 2 ** generator.uniform(0, 1)
        tone = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in range(1, harmonics + 1))
        return (0.3 * tone + 0.01 * generator.standard_normal(RATE)).astype(np.float32)

    kinds = {"flute": 1, "violin": 12, f"{SOUND}bell": 4}
    names = [name for name in kinds for _ in range(12)]
    judge = TimbreJudge.of(names, [wave(kinds[name]) for name in names])
    assert [judge.name(wave(n), sounds=name.startswith(SOUND)) for name, n in kinds.items()] == [
        "flute", "violin", "bell",
    ]  # fmt: skip


def test_a_faint_hiss_makes_no_sound_another() -> None:
    names = [name for name in ("bell", "beep", "siren", "rain") for _ in range(8)]
    clean = [synthesise(name, seed, 3 * RATE).astype(np.float32) for seed, name in enumerate(names)]
    judge = TimbreJudge.of([SOUND + name for name in names], clean)
    generator = np.random.default_rng(0)
    for seed, name in enumerate(("bell", "beep", "siren", "rain"), 100):
        wave = synthesise(name, seed, 3 * RATE).astype(np.float32)
        hiss = 0.004 * np.abs(wave).max() * generator.standard_normal(len(wave))
        assert judge.name((wave + hiss).astype(np.float32), sounds=True) == name


def test_the_object_judge_sees_every_kind_of_the_world_and_takes_any_size() -> None:
    torch.manual_seed(0)
    judge = ObjectJudge().eval()
    with torch.no_grad():
        assert judge(torch.randn(2, 3, 128, 128)).shape == (2, len(world.kinds()))
    assert judge.name(torch.randn(3, 96, 96)) in world.kinds()


def test_a_fifth_of_the_combinations_is_asked_about() -> None:
    for scenes in (world.scenes(), world.moving_scenes()):
        chosen = [is_chosen(scene) for scene in scenes]
        assert sum(chosen) / len(chosen) == pytest.approx(0.2, abs=0.02)
        assert all(is_held_out(scene) for scene, asked in zip(scenes, chosen, strict=True) if asked)


def test_a_picture_that_is_held_out_is_in_no_clip_of_training() -> None:
    stills = {(scene.kind, scene.colour) for scene in world.scenes() if is_held_out(scene)}
    trained = [scene for scene in world.moving_scenes() if not is_held_out(scene)]
    assert trained
    assert not stills & {(scene.kind, scene.colour) for scene in trained}
    kinds = {scene.kind for scene in world.scenes() if not is_held_out(scene)}
    assert kinds == set(world.kinds())
