"""All training data at a size that a test can bear, written by the builders' own code where it needs no package."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.trainer.data import audio, images, videos, world
from services.trainer.data.audio import Clip
from services.trainer.data.chat import questions
from services.trainer.data.english import LENGTH
from services.trainer.data.sentences import build_sentences
from services.trainer.data.sounds import synthesise
from services.trainer.data.speech import SAMPLE_RATE, build_voice
from services.trainer.speech_config import VOICES

OTHERS = 60
"""Pictures of what the world does not name."""
SENTENCES = 60
ANIMATED = ("cat", "rocket", "sad face")
VARIATIONS = 2
"""Of each piece and sound; the last one is held out."""
WORDS = ("house", "water", "morning", "river", "yellow", "music", "window", "garden", "paper", "winter")


def write_tiny_data(cache: Path) -> Path:
    """Pictures, clips, voices, words and answers below a cache; the same at each call."""
    data = cache / "data"
    (data / "speech").mkdir(parents=True)
    (data / "audio").mkdir()
    _pictures(data)
    _animations(data)
    _clips(data / "audio")
    (data / "speech" / "words.json").write_text(json.dumps([*WORDS]))
    (data / "speech" / "lexicon.json").write_text(json.dumps({word: word for word in WORDS}))
    corpus = build_sentences(WORDS, train=SENTENCES, held_out=8)
    for pitch, name in enumerate(VOICES):
        for split, read in (("train", corpus.train), ("held_out", corpus.held_out)):
            build_voice(Buzz(name, 110.0 * (1 + pitch)), read, data / "speech" / split / name, spelled)
    rows = [(question, "I do not know.", True) for question in questions()]
    (data / "chat.json").write_text(json.dumps(rows))
    (data / "english.json").write_text(json.dumps([[*range(first, first + LENGTH)] for first in (100, 900)]))
    return cache


def spelled(text: str) -> str:
    """Every letter sounds as it is written."""
    return text.replace("'", "h")


class Buzz:
    """A voice that hums each letter on a tone of its own."""

    package, licence = "numpy", "BSD-3-Clause"

    def __init__(self, name: str, pitch: float) -> None:
        self.name, self._pitch = name, pitch

    def speak(self, phonemes: str, seed: int) -> tuple[NDArray[np.float32], list[float]]:
        """See `Voice`; the seed has no part in it."""
        time = np.arange(round(0.05 * SAMPLE_RATE)) / SAMPLE_RATE
        tones = [np.sin(2 * np.pi * (self._pitch + 17 * (ord(letter) % 40)) * time) for letter in phonemes]
        return np.concatenate(tones).astype(np.float32), [0.05] * len(phonemes)


def _pictures(data: Path) -> None:
    points = [point for kind in world.kinds() for point in world.code_points(kind)]
    points += [f"other{number}" for number in range(OTHERS)]
    draw = np.random.default_rng(0)
    across = np.linspace(-1, 1, images.SIZE)
    pixels = np.zeros((len(points), images.SIZE, images.SIZE, 4), dtype=np.uint8)
    for picture in pixels:
        x, y = draw.uniform(-0.2, 0.2, 2)
        inside = ((across[None] - x) / draw.uniform(0.4, 0.8)) ** 2 + ((across[:, None] - y) / 0.7) ** 2 < 1
        picture[inside] = (*draw.integers(0, 256, 3), 255)
    np.save(data / "stills.npy", pixels)
    (data / "stills.json").write_text(json.dumps(points))


def _animations(data: Path) -> None:
    """Two things and a face that turn round, as the first pictures of `_pictures` look."""
    points = [world.code_points(kind)[0] for kind in ANIMATED]
    known, stills = json.loads((data / "stills.json").read_text()), np.load(data / "stills.npy")
    alive = [
        [np.rot90(stills[known.index(point)], turn // 6) for turn in range(videos.FRAMES)] for point in points
    ]
    np.save(data / "animations.npy", np.array(alive))
    (data / "animations.json").write_text(json.dumps([(point, "numpy") for point in points]))


def _clips(folder: Path) -> None:
    pieces = [(f"{mood} {name} music", name, mood, "") for name in world.INSTRUMENTS for mood in world.MOODS]
    names = [*pieces, *((world.sound_caption(sound), "", "", sound) for sound in world.SOUNDS)]
    _write_clips(folder, "clips", [
        Clip(*name, variation, variation == VARIATIONS - 1)
        for name in names
        for variation in range(VARIATIONS)
    ])  # fmt: skip
    _write_clips(folder, "asked", [
        Clip(*name, variation, held_out=True)
        for name in names
        for variation in range(audio.ASKED_FROM, audio.ASKED_FROM + VARIATIONS)
    ])  # fmt: skip
    _write_clips(
        folder, "exercises", [Clip("", name, "", "", 0, held_out=False) for name in world.INSTRUMENTS]
    )


def _write_clips(folder: Path, name: str, index: list[Clip]) -> None:
    kinds = [clip.sound or world.SOUNDS[len(clip.caption) % len(world.SOUNDS)] for clip in index]
    waves = np.stack([
        synthesise(kind, len(index) * clip.variation + row, audio.SAMPLES)
        for row, (kind, clip) in enumerate(zip(kinds, index, strict=True))
    ])  # fmt: skip
    peaks = np.abs(waves).max(axis=1, keepdims=True)
    np.save(folder / f"{name}.npy", np.round(waves / peaks * 0.7 * 32767).astype(np.int16))
    document = {"provenance": {"licence": "Apache-2.0"}, "clips": [asdict(clip) for clip in index]}
    (folder / f"{name}.json").write_text(json.dumps(document))
