"""Mels of the spoken corpus, in batches of like length, and what is done to them so that other voices are heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from anygpt_models.spectrogram import HOP, MELS, SAMPLE_RATE, SILENCE, log_mel
from anygpt_models.speech_recogniser import levelled
from services.trainer.data.speech import COMMA, GAP, Utterance, check_apart, read_utterances, read_voice
from services.trainer.data.stored import floats
from services.trainer.device import here
from services.trainer.pronunciations import unstressed

LEVELLED = True
QUIETER = 6.5
"""Frames this far below the loudest mel, in natural log units, are silence."""


@dataclass(frozen=True)
class Spoken:
    """An utterance with its log mel [80, T] in half precision and the number of its voice."""

    utterance: Utterance
    mel: Tensor
    voice: int


def load_spoken(folder: Path, voices: Sequence[str], level: bool) -> list[Spoken]:
    """Every utterance of the voices to train on; `level` brings each to the loudness that the recogniser hears at.

    Raises InvalidInput for data that are not whole, and for sentences that are held out beside the folder too.
    """
    spoken = []
    held_out = folder.parent / "held_out"
    check_apart((folder / voice for voice in voices), (held_out / voice for voice in voices))
    for number, voice in enumerate(voices):
        cache = mel_file(folder, voice, level)
        if not cache.exists():
            save_file(as_spoken(_mels(folder / voice, level)), cache)
        mels = {name: mel.to(here()) for name, mel in load_file(cache).items()}
        for place, utterance in enumerate(read_utterances(folder / voice)):
            spoken.append(trimmed(Spoken(utterance, mels[f"{place:05d}"], number)))
    return spoken


def mel_file(folder: Path, voice: str, level: bool) -> Path:
    """Where the mels of a voice are kept, with as many shards as it has now."""
    count = len(list((folder / voice).glob("[0-9]*.json")))
    return folder / f"{voice}-{count}-{'levelled' if level else 'as-is'}.safetensors"


def as_spoken(mels: Iterable[Tensor]) -> dict[str, Tensor]:
    """Mels of a voice by the place of their utterance."""
    return {f"{place:05d}": mel.half().contiguous() for place, mel in enumerate(mels)}


def _mels(folder: Path, level: bool) -> Iterator[Tensor]:
    for _, samples in read_voice(folder):
        waveform = torch.as_tensor(floats(samples))
        yield log_mel(levelled(waveform) if level else waveform)


def trimmed(spoken: Spoken) -> Spoken:
    """Without the silence around the speech but a few frames; the first and the last symbols lose that time."""
    loud = (spoken.mel.amax(dim=0) > spoken.mel.max() - QUIETER).nonzero()
    start, end = max(0, int(loud[0]) - 2), min(spoken.mel.shape[-1], int(loud[-1]) + 5)
    ends = np.cumsum(spoken.utterance.seconds).clip(start * HOP / SAMPLE_RATE, end * HOP / SAMPLE_RATE)
    seconds = np.diff(ends, prepend=start * HOP / SAMPLE_RATE).tolist()
    return replace(spoken, utterance=replace(spoken.utterance, seconds=seconds), mel=spoken.mel[:, start:end])


def phrase_pieces(spoken: Spoken) -> list[Spoken]:
    """An utterance cut behind its commas, each piece with its own mel and times; the gap belongs to the comma."""
    symbols, seconds = spoken.utterance.symbols, spoken.utterance.seconds
    commas = [place for place, symbol in enumerate(symbols) if symbol == COMMA]
    pieces, start = [], 0
    for end in (*commas, len(symbols) - 1):
        stop = min(end + 2, len(symbols))
        times = [*seconds[start:end], sum(seconds[end:stop])]
        frames = [_frame(spoken.utterance, place) for place in (start, stop)]
        part = replace(spoken.utterance, symbols=symbols[start : end + 1], seconds=times)
        pieces.append(replace(spoken, utterance=part, mel=spoken.mel[:, frames[0] : frames[1]]))
        start = stop
    return pieces


def balanced(spoken: Sequence[Spoken]) -> list[Spoken]:
    """Every voice about as often as the one that says most."""
    counts = Counter(entry.voice for entry in spoken)
    most = max(counts.values())
    return [entry for entry in spoken for _ in range(round(most / counts[entry.voice]))]


class Batches:
    """Random batches of utterances of like length; drawn from torch's generator, so that a run can resume."""

    def __init__(self, spoken: Sequence[Spoken], size: int) -> None:
        self._spoken = sorted(spoken, key=lambda entry: entry.mel.shape[-1])
        self._size = size

    def draw(self) -> list[Spoken]:
        """A batch: a random place in the order of lengths, and its neighbours thinned out at random."""
        reach = min(len(self._spoken), 4 * self._size)
        start = int(torch.randint(len(self._spoken) - reach + 1, ()))
        picked = torch.randperm(reach)[: self._size] + start
        return [self._spoken[place] for place in picked.tolist()]


def spliced(rows: Sequence[Spoken]) -> list[Spoken]:
    """Half of the rows go on as another one of their voice does, so that no word is known by its neighbours."""
    others = torch.randperm(len(rows)).tolist()
    lucky = torch.rand(len(rows)) < 0.5
    return [
        _joined(row, rows[other])
        if luck and rows[other] is not row and rows[other].voice == row.voice
        else row
        for row, other, luck in zip(rows, others, lucky.tolist(), strict=True)
    ]


def _joined(first: Spoken, second: Spoken) -> Spoken:
    """The first up to a gap between words, and the second from one."""
    begun, ended = _any_gap(first.utterance), _any_gap(second.utterance)
    if begun is None or ended is None:
        return first
    symbols = first.utterance.symbols[: begun.symbol] + second.utterance.symbols[ended.symbol :]
    seconds = first.utterance.seconds[: begun.symbol] + second.utterance.seconds[ended.symbol :]
    text = " ".join(first.utterance.text.split()[: begun.word] + second.utterance.text.split()[ended.word :])
    mel = torch.cat([first.mel[:, : begun.frame].float(), second.mel[:, ended.frame :].float()], dim=1)
    return Spoken(Utterance(text, symbols, seconds, mel.shape[-1] * HOP), mel, first.voice)


class _Gap(NamedTuple):
    """Where a word ends: how many words, symbols and frames are before it."""

    word: int
    symbol: int
    frame: int


def _any_gap(utterance: Utterance) -> _Gap | None:
    """A random one."""
    gaps = [place for place, symbol in enumerate(utterance.symbols) if symbol == GAP]
    if not gaps:
        return None
    word = int(torch.randint(len(gaps), ()))
    return _Gap(word + 1, gaps[word], _frame(utterance, gaps[word]))


def _frame(utterance: Utterance, place: int) -> int:
    """The mel frame at which a symbol begins."""
    return round(sum(utterance.seconds[:place]) * SAMPLE_RATE / HOP)


def stacked(mels: Sequence[Tensor], padding: float = SILENCE) -> tuple[Tensor, Tensor]:
    """Mels [80, T] -> one batch [B, 80, max T] and their lengths [B]."""
    lengths = torch.tensor([mel.shape[-1] for mel in mels])
    batch = torch.full((len(mels), MELS, int(lengths.max())), padding)
    for row, mel in zip(batch, mels, strict=True):
        row[:, : mel.shape[-1]] = mel.float()
    return batch, lengths


def targets(texts: Sequence[str], symbols: str) -> tuple[Tensor, Tensor]:
    """Texts over some symbols as CTC targets in one run, and their lengths [B]; 0 is the blank."""
    flat = [symbols.index(symbol) + 1 for text in texts for symbol in text]
    return torch.tensor(flat), torch.tensor([len(text) for text in texts])


def plain_sounds(utterance: Utterance, phonemes: str) -> str:
    """What is said, without stress and pauses, words apart by one gap."""
    plain = (unstressed(symbol) for symbol in utterance.symbols)
    return " ".join("".join(sound for sound in plain if sound in phonemes).split())


def labels(rows: Sequence[Spoken], symbols: Sequence[str]) -> Tensor:
    """What sounds in each mel frame, [B, max T]: the place in `symbols`, 0 for a pause."""
    places = {symbol: place for place, symbol in enumerate(symbols)}
    out = np.zeros((len(rows), max(row.mel.shape[-1] for row in rows)), dtype=np.int64)
    for line, row in zip(out, rows, strict=True):
        ends = np.cumsum(row.utterance.seconds) * SAMPLE_RATE / HOP
        owners = np.searchsorted(ends, np.arange(row.mel.shape[-1]) + 0.5).clip(max=len(ends) - 1)
        known = [places.get(symbol, 0) for symbol in row.utterance.symbols]
        line[: len(owners)] = np.asarray(known)[owners]
    return torch.as_tensor(out)


@dataclass(frozen=True)
class Heard:
    """A batch for the recogniser: log mels [B, 80, T], real frames [B], `labels` of each frame [B, T]."""

    mel: Tensor
    lengths: Tensor
    sounds: Tensor


def disturbed(heard: Heard) -> Heard:
    """Other rooms, microphones and throats: tempo and pitch for the batch, pauses, tone, noise and masks a row."""
    heard = _warped(_delayed(heard))
    return replace(heard, mel=_masked(_noised(_toned(heard.mel))))


def _delayed(heard: Heard) -> Heard:
    """Silence of 0 to 15 frames before each row, and 0 to 25 behind."""
    before, behind = torch.randint(16, heard.lengths.shape), torch.randint(26, heard.lengths.shape)
    total = heard.lengths + before + behind
    room = (0, 41)
    mel = _rolled(functional.pad(heard.mel, room, value=SILENCE), before)[..., : int(total.max())]
    return Heard(mel, total, _rolled(functional.pad(heard.sounds, room), before)[..., : int(total.max())])


def _rolled(rows: Tensor, shifts: Tensor) -> Tensor:
    """Each row [..., T] moved along its last axis, what leaves it on the right comes in on the left."""
    length = rows.shape[-1]
    source = (torch.arange(length) - shifts[:, None]) % length
    return rows.gather(-1, source.view(len(rows), *[1] * (rows.dim() - 2), length).expand_as(rows))


def _warped(heard: Heard) -> Heard:
    """Tempo 0.85 to 1.2, and mel bands stretched by up to 10 % as by a longer or shorter vocal tract."""
    before = heard.mel.shape[-1]
    frames = round(before * _uniform(0.85, 1.2))
    bands = round(MELS * _uniform(0.9, 1.12))
    scaled = functional.interpolate(
        heard.mel[:, None], (bands, frames), mode="bilinear", align_corners=False
    )[:, 0]
    if bands < MELS:
        scaled = torch.cat([scaled, scaled[:, -1:].expand(-1, MELS - bands, -1)], dim=1)
    nearest = (torch.arange(frames) * before // frames).clamp(max=before - 1)
    lengths = (heard.lengths * frames / before).long().clamp(1, frames)
    return Heard(scaled[:, :MELS], lengths, heard.sounds[..., nearest])


def _toned(mel: Tensor) -> Tensor:
    """A tilt and a few slow waves over the bands, and loudness."""
    place = torch.linspace(-1.0, 1.0, MELS)
    tilt = torch.randn(len(mel), 1) * 0.7 * place
    phase, pace = torch.rand(2, len(mel), 4, 1) * 6
    waves = (torch.randn(len(mel), 4, 1) * 0.3 * torch.sin(phase + pace * place)).sum(1)
    return mel + (tilt + waves + torch.randn(len(mel), 1) * 0.4)[..., None]


def _noised(mel: Tensor) -> Tensor:
    """Coloured noise, 40 to 85 dB below the speech."""
    level = mel.amax(dim=(1, 2), keepdim=True) - torch.empty(len(mel), 1, 1).uniform_(4.5, 10.0)
    colour = torch.linspace(0.5, -0.5, MELS)[:, None] * torch.randn(len(mel), 1, 1) * 1.5
    return torch.logaddexp(mel, level + colour + torch.randn_like(mel) * 0.4)


def _masked(mel: Tensor) -> Tensor:
    """Two bands of up to 9 mels and two gaps of up to 8 frames fall to the row's mean (SpecAugment)."""
    mean = mel.mean(dim=(1, 2), keepdim=True)
    hidden = torch.zeros_like(mel, dtype=torch.bool)
    for _ in range(2):
        hidden |= _spans(MELS, 9, len(mel))[:, :, None]
        hidden |= _spans(mel.shape[-1], 8, len(mel))[:, None, :]
    return torch.where(hidden, mean, mel)


def _spans(length: int, widest: int, count: int) -> Tensor:
    start = torch.randint(length, (count, 1))
    place = torch.arange(length)[None]
    return (place >= start) & (place < start + torch.randint(widest + 1, (count, 1)))


def _uniform(low: float, high: float) -> float:
    return float(torch.empty(()).uniform_(low, high))
