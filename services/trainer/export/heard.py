"""Music, sounds and speech, as examples: as many as there are."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from anygpt.errors import Precondition
from services.trainer.data import audio
from services.trainer.data.npm import Package
from services.trainer.data.speech import WORDS, HibariVoice, JoeVoice, read_voice
from services.trainer.data.stored import floats
from services.trainer.evaluation.files import sound_file
from services.trainer.export.example import DataSet, Example, Split

VOICES = {voice.name: voice for voice in (HibariVoice, JoeVoice)}


def _clips(cache: Path, split: Split, pick: random.Random) -> Iterator[Example]:
    """Recordings in a random order, those of exercises too, which have no caption; sounds are made of nothing."""
    clips, exercises = audio.clips(cache), audio.exercises(cache)
    trained = set(clips.trained())
    rows = [(clips, row) for row in range(len(clips.index)) if (row in trained) == (split == "train")]
    rows += [(exercises, row) for row in range(len(exercises.index))] if split == "train" else []
    pick.shuffle(rows)
    for data, row in rows:
        clip = data.index[row]
        made = ["fluid-soundfont-gm/FluidR3_GM.sf2"] if clip.instrument else []
        yield Example("wav", sound_file(data.waveforms([row])[0]), clip.caption, asdict(clip), made)


def _sentences(cache: Path, split: Split, pick: random.Random) -> Iterator[Example]:
    """Both voices in turn, each in the order in which it read."""
    folders = {name: cache / "data" / "speech" / split / name for name in VOICES}
    if missing := [name for name, folder in folders.items() if not (folder / "000.json").exists()]:
        raise Precondition(
            f"{missing[0]} has said nothing yet: anygpt train mini --stage speech.data",
            reason="DATA_MISSING", field="speech",
        )  # fmt: skip
    reading = {name: read_voice(folder) for name, folder in folders.items()}
    while reading:
        for name in [*reading]:
            said = next(reading[name], None)
            if said is None:
                del reading[name]
                continue
            utterance, samples = said
            shows = {"voice": name, "symbols": utterance.symbols, "seconds": utterance.seconds}
            yield Example("wav", sound_file(floats(samples)), utterance.text, shows, [VOICES[name].package])


def _voices(cache: Path) -> list[Package]:
    """The packages of the voices, as their utterances say, and of the words that are in the sentences."""
    folder = cache / "data" / "speech" / "train"
    return [*(_package(folder / name / "provenance.json", name) for name in VOICES), WORDS]


def _package(provenance: Path, voice: str) -> Package:
    told = json.loads(provenance.read_text(encoding="utf-8"))
    return Package(told["package"], told["version"], VOICES[voice].licence)


HEARD = {
    "audio": DataSet(
        lambda _: [Package("fluid-soundfont-gm", "3.1", "MIT")],
        "pieces by instrument and mood, and two recordings of each other piece and sound", _clips,
    ),
    "speech": DataSet(_voices, "sentences: what is held out is read by no voice in training", _sentences),
}  # fmt: skip
