"""What every instrument practises: notes that belong to no mood."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import torch

from services.trainer.audio_playing import Playing
from services.trainer.data import audio, world
from services.trainer.data.composer import PITCHES, STEPS, exercise
from services.trainer.data.ideas import Music
from services.trainer.data.split import is_held_out
from tests.unit.trainer.tiny_data import write_tiny_data

PRACTICE = [exercise(number) for number in range(audio.EXERCISES)]


def test_an_exercise_is_the_same_each_time_and_no_other() -> None:
    assert exercise(3) == PRACTICE[3]
    assert len({tuple(notes) for notes in PRACTICE}) == audio.EXERCISES


def test_exercises_are_in_no_key() -> None:
    classes = Counter(note.pitch % 12 for notes in PRACTICE for note in notes)
    assert len(classes) == 12
    assert max(classes.values()) < 2 * min(classes.values())


def test_exercises_keep_no_pulse() -> None:
    for notes in PRACTICE:
        onsets = sorted({note.onset for note in notes})
        gaps = Counter(after - before for before, after in pairwise(onsets))
        assert gaps.most_common(1)[0][1] < 0.6 * gaps.total()


def test_no_note_of_an_exercise_begins_while_it_sounds() -> None:
    for notes in PRACTICE:
        ends: dict[int, int] = {}
        for note in sorted(notes, key=lambda note: note.onset):
            assert PITCHES[0] <= note.pitch < PITCHES[-1]
            assert ends.get(note.pitch, 0) <= note.onset < STEPS
            ends[note.pitch] = note.onset + note.length


def test_every_instrument_plays_the_exercises_and_no_piece_that_a_judge_asks_for(tmp_path: Path) -> None:
    cache = write_tiny_data(tmp_path)
    playing, pieces = Playing.everything(cache), Playing.pieces(cache)
    practice = playing.index[len(pieces.index) :]
    assert [clip.instrument for clip in practice] == list(world.INSTRUMENTS)
    assert not any(clip.mood for clip in practice)
    assert not any(is_held_out(Music(clip.instrument, clip.mood)) for clip in pieces.index if clip.mood)


def test_the_content_of_an_exercise_is_what_its_players_have_in_common(tmp_path: Path) -> None:
    playing = Playing.everything(write_tiny_data(tmp_path))
    rows = [row for row, clip in enumerate(playing.index) if not clip.mood and not clip.sound]
    (content,) = playing.contents[0, playing.rows[rows].unique()]
    torch.testing.assert_close(content, playing.mels[0, rows].mean(0))
