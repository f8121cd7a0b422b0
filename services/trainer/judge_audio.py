"""Judges of music by signal analysis alone: tempo from onsets, mode from pitch classes; nothing here is learned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.trainer.data.composer import SCALES

Wave = NDArray[np.float32]
SAMPLE_RATE = 16_000
LIVELY = 0.184
"""Between the slow pieces and the fast ones, on the clips of the data set."""
PITCH_WINDOW = 4_096
SHORTEST = SAMPLE_RATE
"""Samples of the shortest sound that is analysed; silence is put behind what is shorter."""
LOWEST, HIGHEST = 100.0, 3_500.0
"""Range of the spectral peaks that a chroma counts, in hertz."""


def tempo(wave: Wave) -> str:
    """`fast` or `slow` of a waveform [S] at 16 kHz."""
    return "fast" if liveliness(wave) > LIVELY else "slow"


def liveliness(wave: Wave) -> float:
    """How much the notes change within 0.16 s, plus how strongly onsets repeat after 0.32 s."""
    notes = _notes(wave)
    unit = notes / (np.linalg.norm(notes, axis=1, keepdims=True) + 1e-9)
    changed = 1.0 - (unit[8:] * unit[:-8]).sum(axis=1)
    return float(np.median(changed)) + 0.5 * _repetition(notes)


def _repetition(notes: NDArray[np.float64]) -> float:
    """Autocorrelation of the onset strength at the fast beat, 16 frames of 20 ms."""
    growth = np.maximum(np.diff(notes, axis=0, prepend=0.0), 0.0).sum(axis=1)
    strength = np.maximum(growth - np.quantile(growth, 0.6), 0.0)
    strength = strength - strength.mean()
    products = np.fft.irfft(np.abs(np.fft.rfft(strength, 2 * len(strength))) ** 2)
    return float(products[15:18].max() / max(products[0], 1e-12))


def _notes(wave: Wave) -> NDArray[np.float64]:
    """Magnitude of each semitone from 150 to 4,000 Hz, every 20 ms."""
    hertz = np.fft.rfftfreq(2048, 1 / SAMPLE_RATE)
    heard = np.flatnonzero((hertz > 150.0) & (hertz < 4_000.0))
    notes = np.round(69 + 12 * np.log2(hertz[heard] / 440.0)).astype(int)
    bands = np.eye(128)[notes]
    wave = np.pad(wave, (0, max(0, SHORTEST - len(wave))))
    return np.asarray(_spectrum(wave, 2048, 320)[:, heard] @ bands[:, bands.any(axis=0)])


def mode(wave: Wave) -> str:
    """`major` or `minor`: the key whose scale and tonic chord explain the pitch classes of a waveform [S] best."""
    heard = chroma(wave)
    scores = {
        (name, tonic): float(np.roll(_profile(name), tonic) @ heard) for name in SCALES for tonic in range(12)
    }
    return max(scores, key=lambda key: scores[key])[0]


def chroma(wave: Wave) -> NDArray[np.float64]:
    """Share of each pitch class [12], C first, among the spectral peaks of a waveform [S]."""
    spectrum = _spectrum(wave, PITCH_WINDOW, PITCH_WINDOW // 4)
    hertz = np.fft.rfftfreq(PITCH_WINDOW, 1 / SAMPLE_RATE)[1:-1]
    left, middle, right = spectrum[:, :-2], spectrum[:, 1:-1], spectrum[:, 2:]
    is_peak = (middle > left) & (middle > right) & (hertz > LOWEST) & (hertz < HIGHEST)
    bins = np.nonzero(is_peak)[1]
    left, middle, right = left[is_peak], middle[is_peak], right[is_peak]
    offset = 0.5 * (left - right) / (left - 2.0 * middle + right - 1e-12)
    notes = np.round(69 + 12 * np.log2((bins + 1 + offset) * SAMPLE_RATE / PITCH_WINDOW / 440.0)).astype(int)
    # A power below one lets soft notes count beside loud ones.
    weights = np.bincount(notes % 12, weights=middle**0.7, minlength=12)
    return weights / max(float(weights.sum()), 1e-9)


def _profile(name: str) -> NDArray[np.float64]:
    """Weight of each semitone above the tonic: its chord counts, what is foreign counts against."""
    scale = SCALES[name]
    weights = np.full(12, -1.0)
    weights[list(scale)] = 0.0
    weights[[scale[0], scale[2], scale[4]]] = 1.0
    return np.asarray((weights - weights.mean()) / weights.std())


def _spectrum(wave: Wave, window: int, hop: int) -> NDArray[np.float64]:
    """Magnitudes [T, window / 2 + 1] of centred Hann windows."""
    padded = np.pad(wave.astype(np.float64), window // 2)
    pieces = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    return np.abs(np.fft.rfft(pieces * np.hanning(window), axis=1)) * 2.0 / window
