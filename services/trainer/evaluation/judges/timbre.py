"""Instruments and sounds by their spectra: linear discriminants over plain statistics, fitted to recordings alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anygpt_models.spectrogram import SAMPLE_RATE
from services.trainer.data import audio

Wave = NDArray[np.float32]
Numbers = NDArray[np.float64]
WINDOW, HOP, BANDS = 1024, 512, 48
SHRINKAGE = 0.1
FAINT = 10**-4.5
"""Power, as a share of the loudest band's, below which nothing is heard: a hiss 45 dB down is no rain."""
SOUND = "sound of "


class TimbreJudge:
    """Names a recording: an instrument, or `sound of` something."""

    def __init__(self, names: Sequence[str], means: Numbers, whiten: Numbers) -> None:
        self._names = list(names)
        self._means = means
        self._whiten = whiten

    @classmethod
    def fitted(cls, folder: Path) -> TimbreJudge:
        """Fit to the recordings that are not held out; a second or two."""
        clips = audio.clips(folder)
        rows = clips.rows(held_out=False)
        names = [label(clips.index[row]) for row in rows]
        return cls.of(names, [wave for row in rows for wave in clips.waveforms([row])])

    @classmethod
    def of(cls, names: Sequence[str], waves: Sequence[Wave]) -> TimbreJudge:
        """Class means under one shared, shrunken covariance (Fisher 1936)."""
        seen = np.stack([statistics(wave) for wave in waves])
        known = sorted(set(names))
        which = np.asarray([known.index(name) for name in names])
        means = np.stack([seen[which == place].mean(axis=0) for place in range(len(known))])
        within = np.cov((seen - means[which]).T)
        shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * np.eye(len(within)) * np.trace(within) / len(within)
        values, vectors = np.linalg.eigh(shrunk)
        whiten = vectors / np.sqrt(np.maximum(values, 1e-9))
        return cls(known, means @ whiten, whiten)

    def name(self, wave: Wave, sounds: bool) -> str:
        """The nearest class of a waveform [S] at 16 kHz among instruments, or among sounds."""
        place = statistics(wave) @ self._whiten
        allowed = [i for i, name in enumerate(self._names) if name.startswith(SOUND) == sounds]
        nearest = min(allowed, key=lambda i: float(np.square(self._means[i] - place).sum()))
        return self._names[nearest].removeprefix(SOUND)


def label(clip: audio.Clip) -> str:
    """The class of a recording."""
    return clip.instrument or SOUND + clip.sound


def statistics(wave: Wave) -> Numbers:
    """Cepstrum, its spread, its change, how tonal each frame is, and how loudness runs, as one vector."""
    padded = np.pad(wave.astype(np.float64), (0, max(0, WINDOW * 8 - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    heard = power @ _filters()
    faint = FAINT * heard.max() + 1e-8
    bands = np.log(heard + faint)
    loud = bands.max(axis=1) > np.quantile(bands.max(axis=1), 0.2) - 1e-9
    cepstrum = (bands @ _cosines())[loud]
    floor = FAINT * power.max() + 1e-10
    flatness = np.exp(np.log(power + floor).mean(axis=1)) / (power.mean(axis=1) + floor)
    change = np.abs(np.diff(cepstrum, axis=0)) if len(cepstrum) > 1 else np.zeros_like(cepstrum)
    total = power.sum(axis=1)
    level = np.log(total + FAINT * total.max() + 1e-8)
    steps = np.diff(level)
    shape = [flatness.mean(), flatness.std(), level.std(), np.abs(steps).mean(), steps.max(), steps.min()]
    # The first coefficient is loudness, which says nothing of who plays.
    parts = [cepstrum.mean(axis=0)[1:], cepstrum.std(axis=0), change.mean(axis=0), np.asarray(shape)]
    return np.concatenate(parts)


@cache
def _filters() -> Numbers:
    """Triangles [bins, bands] evenly spaced in mel from 60 Hz to 8 kHz."""
    hertz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    mel = 2595 * np.log10(1 + hertz / 700)
    edges = np.linspace(2595 * np.log10(1 + 60 / 700), mel[-1], BANDS + 2)
    up = (mel[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[None, 2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(up, down)))


@cache
def _cosines(count: int = 20) -> Numbers:
    place = (np.arange(BANDS) + 0.5) / BANDS
    return np.asarray(np.cos(np.pi * place[:, None] * np.arange(count)[None]))
