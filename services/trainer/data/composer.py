"""A tiny seeded composer: a mood becomes a few bars of melody and chords, as notes on the 80 ms grid of audio codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from services.trainer.data.world import MOODS

STEP_SECONDS = 0.08
STEPS = 64
SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 11)}
"""Semitones above the tonic; minor is harmonic, so that its dominant leads home."""
PROGRESSIONS = ((0, 3, 4, 0), (0, 4, 0, 4), (0, 3, 0, 4), (0, 5, 4, 0))
"""Scale degrees of the chords, each of four beats when fast and of two when slow."""
TONICS = (60, 62, 64, 65, 67, 69)
"""MIDI notes: C4 to A4."""
RHYTHMS = ((4, 2, 2, 4, 4), (2, 2, 4, 2, 2, 4), (4, 4, 2, 2, 4), (2, 2, 2, 2, 4, 4))
"""Steps of the melody notes of one fast bar."""

PITCHES = (48, 62, 93)
"""MIDI notes between which the two voices of an exercise move."""
HASTY, PATIENT = 5, 16
"""Most steps of a note of an exercise."""


@dataclass(frozen=True)
class Note:
    """One note: onset and length in steps of 80 ms, MIDI pitch, MIDI velocity."""

    onset: int
    length: int
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Key:
    """A tonic and its scale; degree 0 is the tonic, 7 the tonic an octave higher."""

    tonic: int
    scale: tuple[int, ...]

    def pitch(self, degree: int) -> int:
        """MIDI pitch of a scale degree, in any octave."""
        octave, step = divmod(degree, 7)
        return self.tonic + 12 * octave + self.scale[step]


def compose(mood: str, seed: int) -> list[Note]:
    """Notes of one clip of 64 steps (5.12 s): mode and tempo are the mood's, the rest is the seed's."""
    draw = np.random.default_rng([seed, *mood.encode()])
    mode, beats_per_minute = MOODS[mood]
    key = Key(int(draw.choice(TONICS)), SCALES[mode])
    chords = PROGRESSIONS[int(draw.integers(len(PROGRESSIONS)))]
    beat = round(60 / beats_per_minute / STEP_SECONDS)
    arrange = {"happy": _happy, "sad": _sad, "calm": _calm, "tense": _tense}[mood]
    return [note for note in arrange(key, chords, beat, draw) if note.onset < STEPS]


def exercise(seed: int) -> list[Note]:
    """Notes of one clip that is in no mode and keeps no pulse: any notes, of any length, in two voices."""
    draw = np.random.default_rng([seed, *b"exercise"])
    low, middle, high = PITCHES
    return [*_wander(draw, low, middle, 2), *_wander(draw, middle, high, 3)]


def _wander(draw: np.random.Generator, lowest: int, highest: int, most: int) -> Iterator[Note]:
    """Chords of up to `most` notes between two pitches; half of a clip is hasty, half of it takes its time."""
    onset, hasty = int(draw.integers(4)), bool(draw.integers(2))
    while onset < STEPS:
        longest = HASTY if hasty == (onset < STEPS // 2) else PATIENT
        gap, velocity = int(draw.integers(2, longest + 1)), int(draw.integers(66, 93))
        for pitch in draw.choice(np.arange(lowest, highest), int(draw.integers(1, most + 1)), replace=False):
            yield Note(onset, min(gap, int(draw.integers(2, longest + 1))), int(pitch), velocity)
        onset += gap


def _happy(key: Key, chords: tuple[int, ...], beat: int, draw: np.random.Generator) -> Iterator[Note]:
    """A skipping melody over short chords on the second and fourth beat."""
    for bar, root in enumerate(chords):
        start = bar * 4 * beat
        yield Note(start, beat, key.pitch(root - 7), 80)
        for off_beat in (1, 3):
            yield from _chord(key, root, start + off_beat * beat, beat // 2, 66)
    yield from _fast_melody(key, chords, beat, draw)


def _tense(key: Key, chords: tuple[int, ...], beat: int, draw: np.random.Generator) -> Iterator[Note]:
    """A driving ostinato on the root below a restless melody."""
    for bar, root in enumerate(chords):
        for pulse in range(8):
            onset = bar * 4 * beat + pulse * beat // 2
            yield Note(onset, beat // 2, key.pitch(root - 7), 84 if pulse % 4 == 0 else 70)
        yield from _chord(key, root, bar * 4 * beat, 2 * beat, 72)
    yield from _fast_melody(key, chords, beat, draw)


def _sad(key: Key, chords: tuple[int, ...], beat: int, draw: np.random.Generator) -> Iterator[Note]:
    """Long chords and a melody that sinks."""
    for bar, root in enumerate(chords):
        start = bar * 2 * beat
        yield from _chord(key, root, start, 2 * beat, 66)
        top = root % 7 + 7 + int(draw.choice((0, 2)))
        yield Note(start, beat, key.pitch(top), 88)
        yield Note(start + beat, beat, key.pitch(top - int(draw.integers(1, 3))), 80)


def _calm(key: Key, chords: tuple[int, ...], beat: int, draw: np.random.Generator) -> Iterator[Note]:
    """Slow broken chords that rise."""
    shape = ((0, 2, 4, 7), (0, 4, 7, 9), (0, 4, 2, 7))[int(draw.integers(3))]
    for bar, root in enumerate(chords):
        start = bar * 2 * beat
        yield Note(start, 2 * beat, key.pitch(root - 7), 70)
        for index, degree in enumerate(shape):
            yield Note(start + index * beat // 2, 2 * beat - index * beat // 2, key.pitch(root + degree), 78)


def _fast_melody(key: Key, chords: tuple[int, ...], beat: int, draw: np.random.Generator) -> Iterator[Note]:
    degree = 7
    for bar, root in enumerate(chords):
        onset = bar * 4 * beat
        rhythm = RHYTHMS[int(draw.integers(len(RHYTHMS)))]
        for index, length in enumerate(rhythm):
            degree = int(np.clip(degree + draw.choice((-2, -1, 1, 2)), 4, 13))
            if index == 0 or (bar == len(chords) - 1 and index == len(rhythm) - 1):
                degree = root % 7 + 7
            yield Note(onset, length, key.pitch(degree), 92)
            onset += length


def _chord(key: Key, root: int, onset: int, length: int, velocity: int) -> Iterator[Note]:
    for degree in (0, 2, 4):
        yield Note(onset, length, key.pitch(root + degree), velocity)
