"""Clips of music and sound for the mini pack: composed, rendered with the FluidR3 sound font, or synthesised.

Needs the Debian packages `fluidsynth` and `fluid-soundfont-gm`. Cached as one array of 16-bit samples beside a
JSON index, which is also the record of where the data comes from.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anygpt.errors import Precondition
from anygpt_models.spectrogram import SAMPLE_RATE
from services.trainer.data import tools, world
from services.trainer.data.composer import STEP_SECONDS, STEPS, Note, compose, exercise
from services.trainer.data.ideas import Music
from services.trainer.data.sounds import synthesise
from services.trainer.data.split import is_held_out
from services.trainer.data.stored import (
    STRICT,
    array,
    build_once,
    floats,
    records,
    write_records,
    wrong_split,
)

SAMPLES = round(STEPS * STEP_SECONDS * SAMPLE_RATE)
"""81,920 samples, 5.12 s."""
TRAINED, HELD_OUT = 12, 2
"""Variations of each piece of music and of each sound."""
ASKED, ASKED_MORE, ASKED_FROM = 64, 4, 1000
"""Recordings that an evaluation has for itself: of each sound and each piece that is held out, and of each other
piece; their first variation.
"""
EXERCISES = 24
"""That every instrument plays: the same ones, in no mood."""
SOUND_FACTOR = 2
"""Sounds have fewer names than music has combinations, so each gets more variations."""
NEEDED = "music needs the packages fluidsynth and fluid-soundfont-gm"
SOUND_FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
RENDER_RATE = 3 * SAMPLE_RATE
SLOT_SECONDS = 8.0
"""Distance of clips within one rendering: a clip and its fading notes."""
PEAK = 0.7
TRANSPOSED = {"cello": -12, "xylophone": 12, "flute": 12, "violin": 12}
"""Semitones that bring an instrument into its own register."""


@dataclass(frozen=True)
class Clip:
    """What one clip is: music has an instrument and a mood, an exercise no mood, a sound has its name only."""

    caption: str
    instrument: str
    mood: str
    sound: str
    variation: int
    held_out: bool
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class _Index:
    """What stands beside the samples: where they are from, what each row is, and which travelled sample by sample."""

    provenance: dict[str, str]
    clips: list[Clip]
    exact: list[int] | None = None
    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Clips:
    """All clips: 16-bit samples [N, 81920] and what each row is."""

    samples: NDArray[np.int16]
    index: list[Clip]
    exact_rows: list[int]
    """Rows whose samples are as they were made, not rebuilt from mels."""

    def rows(self, held_out: bool) -> list[int]:
        """Rows of recordings that are kept for judging, or all others."""
        return [row for row, clip in enumerate(self.index) if clip.held_out == held_out]

    def trained(self) -> list[int]:
        """Rows that a pack learns from: no recording and no combination that is kept for judging."""
        return [row for row in self.rows(held_out=False) if not _is_kept(self.index[row])]

    def kept(self) -> list[int]:
        """Rows of the other recordings, of combinations that are kept for judging."""
        return [row for row in self.rows(held_out=False) if _is_kept(self.index[row])]

    def waveforms(self, rows: list[int]) -> NDArray[np.float32]:
        """Samples of some rows in [-1, 1]."""
        return floats(self.samples[rows])


def clips(cache: Path) -> Clips:
    """Read the clips from the cache, after building them when they are not there."""
    folder = cache / "data" / "audio"
    build_once(folder / "clips.json", lambda: _build(folder))
    return _read(folder, "clips")


def exercises(cache: Path) -> Clips:
    """Notes in no mode, without a pulse, played by all instruments; read from the cache, or built.

    They show how an instrument sounds, and so leave out nothing but moods for those that are kept for judging.
    """
    folder = cache / "data" / "audio"
    build_once(folder / "exercises.json", lambda: _build_exercises(folder))
    return _read(folder, "exercises")


def asked(cache: Path) -> Clips:
    """Recordings that an evaluation asks about, and nothing learns from; read from the cache, or built."""
    folder = cache / "data" / "audio"
    build_once(folder / "asked.json", lambda: _build_asked(folder))
    return _read(folder, "asked", {True})


def _read(folder: Path, name: str, splits: AbstractSet[bool] = frozenset({True, False})) -> Clips:
    stored: _Index = records(folder / f"{name}.json", _Index)
    _check_split(f"{name}.json", stored.clips, splits)
    samples = array(folder / f"{name}.npy", (len(stored.clips), SAMPLES), np.int16)
    exact = list(range(len(stored.clips))) if stored.exact is None else stored.exact
    return Clips(samples, stored.clips, exact)


def _check_split(name: str, index: list[Clip], due: AbstractSet[bool]) -> None:
    """Each recording is there once, and each piece and sound is in all splits that are due."""
    splits: dict[str, set[bool]] = defaultdict(set)
    recorded = Counter((clip.caption, clip.instrument, clip.variation) for clip in index)
    for clip in index:
        splits[clip.caption].add(clip.held_out)
        if recorded[clip.caption, clip.instrument, clip.variation] > 1:
            raise wrong_split(name, f"variation {clip.variation} of {clip.caption!r} is there twice")
    for caption, found in splits.items():
        if caption and found != due:
            wrong = "not all is held out" if due == {True} else "all is held out, or nothing"
            raise wrong_split(name, f"of {caption!r} {wrong}")


def _is_kept(clip: Clip) -> bool:
    return bool(clip.mood) and is_held_out(Music(clip.instrument, clip.mood))


def _build(folder: Path) -> None:
    sounds = [clip for sound in world.SOUNDS for clip in _sounds(sound)]
    _record(folder, "clips", [_music(instrument) for instrument in world.INSTRUMENTS], sounds)


def _build_asked(folder: Path) -> None:
    music = [
        [
            Clip(world.music_caption(instrument, mood), instrument, mood, "", variation, held_out=True)
            for mood in world.MOODS
            for variation in _variations(place, ASKED if is_held_out(Music(instrument, mood)) else ASKED_MORE)
        ]
        for place, instrument in enumerate(world.INSTRUMENTS)
    ]
    sounds = [
        Clip(world.sound_caption(sound), "", "", sound, variation, held_out=True)
        for sound in world.SOUNDS
        for variation in _variations(0, ASKED)
    ]
    _record(folder, "asked", music, sounds)


def _variations(place: int, count: int) -> range:
    """Those of one instrument: no two play the same notes."""
    first = ASKED_FROM + ASKED * place
    return range(first, first + count)


def _record(folder: Path, name: str, music: list[list[Clip]], sounds: list[Clip]) -> None:
    """Play the pieces of each instrument, synthesise the sounds, and keep them in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = [
        _render([compose(clip.mood, clip.variation) for clip in pieces], pieces[0].instrument)
        for pieces in music
    ]
    samples.append(np.stack([_finished(synthesise(clip.sound, clip.variation, SAMPLES)) for clip in sounds]))
    _write(folder, name, samples, [*(clip for pieces in music for clip in pieces), *sounds])


def _build_exercises(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    notes = [exercise(number) for number in range(EXERCISES)]
    samples = [_render(notes, instrument) for instrument in world.INSTRUMENTS]
    index = [
        Clip("", instrument, "", "", number, held_out=False)
        for instrument in world.INSTRUMENTS
        for number in range(EXERCISES)
    ]
    _write(folder, "exercises", samples, index)


def _write(folder: Path, name: str, samples: list[NDArray[np.int16]], index: list[Clip]) -> None:
    np.save(folder / f"{name}.npy", np.concatenate(samples))
    write_records(
        folder / f"{name}.json", {"provenance": _PROVENANCE, "clips": [asdict(clip) for clip in index]}
    )


def _music(instrument: str) -> list[Clip]:
    return [
        Clip(world.music_caption(instrument, mood), instrument, mood, "", variation, variation >= TRAINED)
        for mood in world.MOODS
        for variation in range(TRAINED + HELD_OUT)
    ]


def _sounds(sound: str) -> list[Clip]:
    count = SOUND_FACTOR * (TRAINED + HELD_OUT)
    trained = SOUND_FACTOR * TRAINED
    return [Clip(world.sound_caption(sound), "", "", sound, seed, seed >= trained) for seed in range(count)]


def _render(pieces: list[list[Note]], instrument: str) -> NDArray[np.int16]:
    """One rendering of all pieces of an instrument, cut into clips."""
    if not SOUND_FONT.is_file():
        raise Precondition(f"there is no sound font: {NEEDED}", reason="TOOL_MISSING", field=SOUND_FONT.name)
    with tempfile.TemporaryDirectory() as folder:
        midi, raw = Path(folder) / "pieces.mid", Path(folder) / "pieces.raw"
        _write_midi(pieces, instrument, midi)
        command = ["fluidsynth", "-ni", "-q", "-R", "0", "-C", "0", "-g", "0.5", "-r", str(RENDER_RATE)]
        said = tools.run([*command, "-T", "raw", "-O", "float", "-F", raw, SOUND_FONT, midi], NEEDED)
        mono = _mono(raw)
    length, slot = 3 * SAMPLES, round(SLOT_SECONDS * RENDER_RATE)
    waves = [mono[row * slot : row * slot + length] for row in range(len(pieces))]
    # It exits with 0 when the disk is full, and when it plays another font for one that it can not read.
    if "error" in said:
        raise tools.failed("fluidsynth", said)
    if len(waves[-1]) < length or not all(wave.any() for wave in waves):
        raise tools.failed("fluidsynth", f"of {instrument} something is cut off or silent")
    return np.stack([_finished(_decimated(wave)) for wave in waves])


def _mono(raw: Path) -> NDArray[np.float64]:
    """The mean of both channels; nothing where nothing was written."""
    stereo = np.fromfile(raw, dtype=np.float32) if raw.exists() else np.empty(0, np.float32)
    mono: NDArray[np.float64] = stereo[: len(stereo) // 2 * 2].reshape(-1, 2).mean(axis=1, dtype=np.float64)
    return mono


def _write_midi(pieces: list[list[Note]], instrument: str, path: Path) -> None:
    """Write a MIDI file whose tick is one millisecond."""
    with tools.from_extra("data"):
        import mido

    track = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=1_000_000)])
    track.append(mido.Message("program_change", program=world.INSTRUMENTS[instrument]))
    events = sorted(_events(pieces, TRANSPOSED.get(instrument, 0)))
    now = 0
    for tick, is_on, pitch, velocity in events:
        kind = "note_on" if is_on else "note_off"
        track.append(mido.Message(kind, note=pitch, velocity=velocity, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=round(1000 * SLOT_SECONDS)))
    mido.MidiFile(type=0, ticks_per_beat=1000, tracks=[track]).save(path)


def _events(pieces: list[list[Note]], semitones: int) -> Iterable[tuple[int, bool, int, int]]:
    """Rows of (tick, is it an onset, pitch, velocity); notes end a little early, so that repeats are heard."""
    for row, piece in enumerate(pieces):
        start = round(1000 * SLOT_SECONDS * row)
        for note in piece:
            onset = start + round(1000 * STEP_SECONDS * note.onset)
            end = onset + round(1000 * STEP_SECONDS * min(note.length, STEPS - note.onset)) - 12
            yield onset, True, note.pitch + semitones, note.velocity
            yield end, False, note.pitch + semitones, 0


def _decimated(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """A third of the sample rate, by an ideal low pass."""
    return np.fft.irfft(np.fft.rfft(wave)[: len(wave) // 6 + 1], len(wave) // 3)


def _finished(wave: NDArray[np.float64]) -> NDArray[np.int16]:
    """Peak level, with 20 ms of fade at the end."""
    fade = np.ones(len(wave))
    fade[-320:] = np.linspace(1.0, 0.0, 320)
    wave = wave * fade
    return np.asarray(np.round(wave / np.abs(wave).max() * PEAK * 32767), dtype=np.int16)


_PROVENANCE = {
    "music": "composed by services/trainer/data/composer.py, rendered with fluidsynth and FluidR3 GM (MIT), "
    "Debian package fluid-soundfont-gm",
    "sounds": "synthesised by services/trainer/data/sounds.py",
    "licence": "Apache-2.0 for the compositions and the sounds; MIT for the sound font",
}
