"""What an evaluation shows: media that no part of a pack learned from, and to judges none that they learned from."""

from __future__ import annotations

import pytest
from torch import Tensor

from anygpt.client import Media, Piece
from services.trainer.data import videos
from services.trainer.data.ideas import Music, Sound
from services.trainer.data.split import is_held_out
from services.trainer.data.world import Scene
from services.trainer.evaluation.files import read_clip
from services.trainer.evaluation.material import Material
from tests.unit.trainer.tiny_data import VARIATIONS, write_tiny_data

HELD_OUT, LEARNED = Music("violin", "happy"), Music("piano", "happy")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(write_tiny_data(tmp_path_factory.mktemp("cache")))


def recordings(material: Material, idea: Music | Sound, to_judges: bool) -> int:
    """How many different files there are of it."""
    found = [material.shown(idea, seed, to_judges) for seed in range(2 * VARIATIONS)]
    return len({piece.source for piece in found if isinstance(piece, Media)})


def test_a_model_is_asked_about_every_recording_of_a_piece_that_it_never_heard(material: Material) -> None:
    assert is_held_out(HELD_OUT)
    assert recordings(material, HELD_OUT, to_judges=False) == VARIATIONS


@pytest.mark.parametrize("idea", [HELD_OUT, LEARNED, Sound("rain")])
def test_a_judge_is_tried_on_recordings_that_it_did_not_learn_from(
    material: Material, idea: Music | Sound
) -> None:
    assert recordings(material, idea, to_judges=True) == 1


def test_of_a_piece_that_was_learned_only_other_recordings_are_asked_about(material: Material) -> None:
    assert not is_held_out(LEARNED)
    assert recordings(material, LEARNED, to_judges=False) == 1


def test_an_animated_thing_changes_where_it_is_and_moves_where_it_is_told(material: Material) -> None:
    frames = [clip_of(material.animated(Scene("cat", "blue", motion), 0)) for motion in ("", "left")]
    assert all(len(clip) == videos.FRAMES for clip in frames)
    stays, moves = ((clip[0] - clip[-1]).abs().mean() for clip in frames)
    assert (frames[0][0] - frames[0][8]).abs().mean() > 0.05
    assert moves > stays


def clip_of(piece: Piece) -> Tensor:
    assert isinstance(piece, Media)
    assert isinstance(piece.source, bytes)
    return read_clip(piece.source)
