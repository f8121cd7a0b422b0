"""Training data in one small file, for a machine that reaches no network: everything that the stages read.

What leaves: pictures, log mels as pictures, spoken texts with their times, a few clips sample by sample, word lists,
answers of the base model, provenance. What stays: held-out speech, which only judges hear.
"""

from __future__ import annotations

import json
import lzma
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file

from anygpt.errors import Exhausted, InvalidInput
from anygpt.whole import written_whole
from anygpt_models.spectrogram import SAMPLE_RATE, frames, log_mel
from anygpt_models.speech_recogniser import levelled
from services.trainer.data import audio, images
from services.trainer.data.compact import (
    LONGEST,
    mels_as_picture,
    mels_of_picture,
    picture_as_bytes,
    picture_of_bytes,
    samples_as_bytes,
    samples_of_bytes,
    sound_of,
)
from services.trainer.data.speech import read_voice
from services.trainer.data.spread import spread
from services.trainer.data.stored import floats, write_records
from services.trainer.speech_batches import LEVELLED, as_spoken, mel_file
from services.trainer.speech_config import VOICES

MOST_BYTES = 24 * 1024 * 1024
EXACT_CLIPS = 24
"""Clips of music and sound that travel sample by sample."""
EXACT_SECONDS = 45
"""Of each voice, likewise."""
MOST_SHARDS = 34
"""Of each voice; where it has said more, shards from all over travel."""
TEXTS = (
    "chat.json", "english.json", "speech/words.json", "speech/lexicon.json", "speech/provenance.json",
    "npm/provenance.json",
)  # fmt: skip
"""Files below the data folder that travel as they are, when they are there."""
_CLIPS_AT_ONCE = 32


def pack(cache: Path, bundle: Path) -> int:
    """Write all training data below a cache into one file; its size in bytes.

    Raises InvalidInput for data that have not been built, Exhausted for a bundle that is too big to travel; neither
    leaves a file.
    """
    data = cache / "data"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(bundle) as unfinished:
        with zipfile.ZipFile(unfinished, "w") as file:
            for name in TEXTS:
                if (data / name).exists():
                    file.writestr(name, (data / name).read_bytes(), zipfile.ZIP_LZMA)
            for part in (_pictures, _clips, _voices):
                for name, content in part(cache):
                    file.writestr(
                        name, content, zipfile.ZIP_LZMA if name.endswith(".json") else zipfile.ZIP_STORED
                    )
        size = unfinished.stat().st_size
        if size > MOST_BYTES:
            raise Exhausted(
                f"the bundle has {size / 2**20:.1f} MiB, {MOST_BYTES >> 20} can travel",
                reason="BUNDLE_TOO_BIG", field=bundle.name,
            )  # fmt: skip
    return size


def unpack(bundle: Path, cache: Path) -> None:
    """Write the data of a bundle below a cache, in the form that the builders of data give it.

    Raises InvalidInput for what is no bundle.
    """
    data = cache / "data"
    data.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(bundle) as file:
            for name in set(TEXTS) & set(file.namelist()):
                (data / name).parent.mkdir(parents=True, exist_ok=True)
                (data / name).write_bytes(file.read(name))
            for part in (_unpack_pictures, _unpack_clips, _unpack_voices):
                part(file.read, data)
    except (zipfile.BadZipFile, lzma.LZMAError, KeyError, FileNotFoundError) as error:
        raise InvalidInput(
            f"{bundle.name} is no bundle: {error}", reason="BUNDLE", field="--bundle"
        ) from error


Files = Iterator[tuple[str, bytes]]
Read = Callable[[str], bytes]


def _pictures(cache: Path) -> Files:
    _due(cache / "data" / "stills.json", "image.codec")
    stills = images.pictures(cache)
    yield "stills.json", json.dumps(stills.code_points).encode()
    for row, pixels in enumerate(stills.pixels):
        yield f"stills/{row:05}.webp", picture_as_bytes(pixels)


def _unpack_pictures(read: Read, data: Path) -> None:
    points = json.loads(read("stills.json"))
    np.save(
        data / "stills.npy",
        np.stack([picture_of_bytes(read(f"stills/{row:05}.webp")) for row in range(len(points))]),
    )
    write_records(data / "stills.json", points)


def _clips(cache: Path) -> Files:
    folder = cache / "data" / "audio"
    for name, clips, most in (("clips", audio.clips, EXACT_CLIPS), ("exercises", audio.exercises, 0)):
        _due(folder / f"{name}.json", "audio.data")
        yield from _recorded(folder, name, clips(cache), most)


def _recorded(folder: Path, name: str, clips: audio.Clips, most: int) -> Files:
    """Clips as mels, `most` of them sample by sample too."""
    document = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    exact = spread(clips.exact_rows, most)
    yield f"audio/{name}.json", json.dumps(document | {"exact": exact}).encode()
    yield f"audio/{name}.xz", samples_as_bytes(clips.samples[exact].reshape(-1))
    for start in range(0, len(clips.index), _CLIPS_AT_ONCE):
        rows = list(range(start, min(start + _CLIPS_AT_ONCE, len(clips.index))))
        yield (
            f"audio/{name}/{start:05}.webp",
            mels_as_picture(list(log_mel(torch.as_tensor(clips.waveforms(rows))))),
        )


def _unpack_clips(read: Read, data: Path) -> None:
    (data / "audio").mkdir(exist_ok=True)
    for name in ("clips", "exercises"):
        document = json.loads(read(f"audio/{name}.json"))
        np.save(data / "audio" / f"{name}.npy", _samples(read, name, document))
        write_records(data / "audio" / f"{name}.json", document)


def _samples(read: Read, name: str, document: dict[str, Any]) -> NDArray[np.int16]:
    count, length = len(document["clips"]), frames(audio.SAMPLES)
    samples, exact = np.empty((count, audio.SAMPLES), dtype=np.int16), set(document["exact"])
    for start in range(0, count, _CLIPS_AT_ONCE):
        stop = min(start + _CLIPS_AT_ONCE, count)
        mels = mels_of_picture(read(f"audio/{name}/{start:05}.webp"), [length] * (stop - start))
        rows = [row for row in range(start, stop) if row not in exact]
        samples[rows] = sound_of(torch.stack([mels[row - start] for row in rows]))[:, : audio.SAMPLES]
    samples[document["exact"]] = samples_of_bytes(read(f"audio/{name}.xz")).reshape(-1, audio.SAMPLES)
    return samples


def _voices(cache: Path) -> Files:
    for voice in VOICES:
        folder = cache / "data" / "speech" / "train" / voice
        _due(folder / "provenance.json", "speech.data")
        yield f"speech/{voice}/provenance.json", (folder / "provenance.json").read_bytes()
        yield f"speech/{voice}/exact.xz", samples_as_bytes(_first_seconds(folder))
        shards = sorted(folder.glob("[0-9]*.json"))
        count = min(MOST_SHARDS, len(shards))
        for number in range(count):
            yield from _shard(folder, shards[number * len(shards) // count], number)


def _shard(folder: Path, path: Path, number: int) -> Files:
    """A shard of a voice: its texts and times, the gain that brings each to one level, and its mels."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    waveform, start, mels, gains = load_file(path.with_suffix(".safetensors"))["waveform"], 0, [], []
    for row in rows:
        wave = torch.as_tensor(floats(waveform[start : start + row["samples"]]))
        start += row["samples"]
        mels.append(log_mel(wave))
        gains.append(float((levelled(wave).abs().max() / wave.abs().max().clamp(min=1e-6)).log()))
    name = f"speech/{folder.name}/{number:03}"
    pieces = list(_pieces([mel.shape[-1] for mel in mels]))
    yield f"{name}.json", json.dumps({"rows": rows, "gains": gains, "pieces": len(pieces)}).encode()
    for piece, (first, last) in enumerate(pieces):
        yield f"{name}.{piece}.webp", mels_as_picture(mels[first:last])


def _unpack_voices(read: Read, data: Path) -> None:
    for voice in VOICES:
        folder = data / "speech" / "train" / voice
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "provenance.json").write_bytes(read(f"speech/{voice}/provenance.json"))
        save_arrays(
            {"waveform": samples_of_bytes(read(f"speech/{voice}/exact.xz"))}, folder / "exact.safetensors"
        )
        mels, gains = [], []
        for stem in _stems(read, voice):
            shard = json.loads(read(f"{stem}.json"))
            write_records(folder / f"{Path(stem).name}.json", shard["rows"])
            lengths = [frames(row["samples"]) for row in shard["rows"]]
            gains += shard["gains"]
            for number, (first, last) in enumerate(_pieces(lengths)):
                mels += mels_of_picture(read(f"{stem}.{number}.webp"), lengths[first:last])
        lifted = [mel + gain for mel, gain in zip(mels, gains, strict=True)]
        save_file(as_spoken(mels), mel_file(folder.parent, voice, level=not LEVELLED))
        save_file(as_spoken(lifted), mel_file(folder.parent, voice, level=LEVELLED))


def _stems(read: Read, voice: str) -> Iterator[str]:
    """Shards of a voice, in their order, as long as there are some."""
    number = 0
    while True:
        stem = f"speech/{voice}/{number:03}"
        try:
            read(f"{stem}.json")
        except KeyError:
            return
        yield stem
        number += 1


def _pieces(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Runs of mels that fit into one picture."""
    first = total = 0
    for place, length in enumerate(lengths):
        if total + length > LONGEST:
            yield first, place
            first, total = place, 0
        total += length
    yield first, len(lengths)


def _first_seconds(folder: Path) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    kept, total = [], 0
    for _, samples in read_voice(folder):
        kept.append(samples)
        total += len(samples)
        if total > EXACT_SECONDS * SAMPLE_RATE:
            break
    return np.concatenate(kept)


def _due(path: Path, stage: str) -> None:
    if not path.exists():
        raise InvalidInput(
            f"{path.name} has not been built: `anygpt train mini --stage {stage}`",
            reason="DATA_MISSING",
            field=stage,
        )
