"""What an evaluation shows: media that neither a pack nor a judge learned from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import Tensor

from anygpt.client import Media, Piece
from services.trainer.data import audio, ideas, videos, world
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.data.stored import floats
from services.trainer.data.world import Scene
from services.trainer.evaluation import table
from services.trainer.evaluation.attributes import Draw, mooded_face, mooded_moving_face
from services.trainer.evaluation.files import read_clip, sound_file
from services.trainer.evaluation.judgement import Judges, truth
from services.trainer.evaluation.material import Material, Sampler
from services.trainer.evaluation.task import Bench
from tests.unit.trainer.tiny_data import VARIATIONS, write_tiny_data

HELD_OUT, LEARNED = Music("violin", "happy"), Music("piano", "happy")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return Material(write_tiny_data(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("idea", [HELD_OUT, LEARNED, Sound("rain")])
def test_who_is_asked_hears_recordings_that_nothing_learned_from(
    material: Material, idea: Music | Sound
) -> None:
    learned = audio.clips(material.cache).samples
    shown = {source(material.shown(idea, seed)) for seed in range(2 * VARIATIONS)}
    assert len(shown) == VARIATIONS
    assert not shown & {sound_file(floats(samples)) for samples in learned}


@pytest.mark.parametrize("name", ["music -> text", "sound -> text", "pair audio -> image"])
def test_no_recording_is_asked_about_twice_and_each_piece_as_often_as_any_other(name: str) -> None:
    asked = Counter[tuple[Music | Sound, int]]()
    row = next(row for row in table.rows() if row.name == name)
    bench = Bench(Path(), Heard(Path(), asked), Judges(Path()))
    assert len(list(row.questions(bench, 500))) == 500
    assert set(asked.values()) == {1}
    assert max(nth for _, nth in asked) < audio.ASKED
    often = Counter(idea for idea, _ in asked).values()
    assert max(often) - min(often) <= 1


@pytest.mark.parametrize("draw", [mooded_face, mooded_moving_face])
def test_no_mood_is_right_more_often_than_another(draw: Draw) -> None:
    sampler = Sampler(1)
    moods = Counter(truth(ideas.as_audio(draw(sampler)), "mood") for _ in range(400))
    assert moods == dict.fromkeys(world.MOODS, 100)


@dataclass(frozen=True)
class Heard(Material):
    """Tells which recordings are asked for, and reads none."""

    asked: Counter[tuple[Music | Sound, int]]

    def shown(self, idea: Idea, seed: int) -> Piece:
        assert isinstance(idea, Music | Sound)
        self.asked[idea, seed] += 1
        return ""


def test_an_animated_thing_changes_where_it_is_and_moves_where_it_is_told(material: Material) -> None:
    frames = [clip_of(material.animated(Scene("cat", "blue", motion), 0)) for motion in ("", "left")]
    assert all(len(clip) == videos.FRAMES for clip in frames)
    stays, moves = ((clip[0] - clip[-1]).abs().mean() for clip in frames)
    assert (frames[0][0] - frames[0][8]).abs().mean() > 0.05
    assert moves > stays


def clip_of(piece: Piece) -> Tensor:
    return read_clip(source(piece))


def source(piece: Piece) -> bytes:
    assert isinstance(piece, Media)
    assert isinstance(piece.source, bytes)
    return piece.source
