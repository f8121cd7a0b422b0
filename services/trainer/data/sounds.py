"""Everyday sounds synthesised from a seed: rain, bell, siren, beep, knock, wave, wind, clock."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from anygpt_models.spectrogram import SAMPLE_RATE

Wave = NDArray[np.float64]
"""Samples [S] at 16 kHz."""


def synthesise(sound: str, seed: int, samples: int) -> Wave:
    """One variation of a sound, `samples` long, not yet normalised."""
    draw = np.random.default_rng([seed, *sound.encode()])
    return _SOUNDS[sound](draw, samples)


def _rain(draw: np.random.Generator, samples: int) -> Wave:
    hiss = _shaped_noise(draw, samples, draw.uniform(900, 1500), 7000)
    drops = np.zeros(samples)
    drop = _ring(0.02, [(draw.uniform(2500, 3500), 1.0, 0.004)])
    for onset in draw.integers(0, samples - len(drop), int(draw.integers(60, 160))):
        drops[onset : onset + len(drop)] += drop * draw.uniform(0.2, 1.0)
    return 0.3 * hiss + 0.8 * drops


def _bell(draw: np.random.Generator, samples: int) -> Wave:
    pitch = draw.uniform(420, 700)
    partials = (
        (0.5, 0.5, 2.5),
        (1.0, 1.0, 2.0),
        (1.2, 0.6, 1.4),
        (1.5, 0.4, 1.0),
        (2.0, 0.7, 0.9),
        (2.67, 0.4, 0.5),
    )
    ring = _ring(3.0, [(pitch * ratio, level, decay) for ratio, level, decay in partials])
    return _repeat(ring, samples, start=draw.uniform(0.0, 0.1), every=draw.choice((1.28, 1.68)))


def _siren(draw: np.random.Generator, samples: int) -> Wave:
    time = np.arange(samples) / SAMPLE_RATE
    low, high, rate = draw.uniform(500, 650), draw.uniform(1100, 1400), draw.uniform(0.3, 0.6)
    pitch = low + (high - low) * (0.5 - 0.5 * np.cos(2 * np.pi * rate * time))
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    return np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.25 * np.sin(3 * phase)


def _beep(draw: np.random.Generator, samples: int) -> Wave:
    time = np.arange(samples) / SAMPLE_RATE
    period = draw.choice((0.48, 0.64, 0.8))
    gate = _smooth(((time % period) < period / 2).astype(np.float64), 64)
    return np.sin(2 * np.pi * draw.uniform(880, 1760) * time) * gate


def _knock(draw: np.random.Generator, samples: int) -> Wave:
    body = draw.uniform(140, 220)
    thump = _ring(0.25, [(body, 1.0, 0.04), (2.3 * body, 0.6, 0.025), (5.1 * body, 0.3, 0.012)])
    thump += 0.3 * draw.standard_normal(len(thump)) * np.exp(-np.arange(len(thump)) / (0.006 * SAMPLE_RATE))
    wave, gap = np.zeros(samples), draw.choice((0.24, 0.32))
    for group in np.arange(draw.uniform(0.0, 0.3), samples / SAMPLE_RATE, 1.6):
        for index in range(3):
            _add(wave, thump, group + index * gap)
    return wave


def _wave(draw: np.random.Generator, samples: int) -> Wave:
    time = np.arange(samples) / SAMPLE_RATE
    swell = (0.5 - 0.5 * np.cos(2 * np.pi * (time / draw.uniform(2.4, 3.2) + draw.uniform(0, 1)))) ** 2
    rumble = _shaped_noise(draw, samples, 60, 500)
    foam = _shaped_noise(draw, samples, 500, 4000)
    return rumble * (0.3 + 0.7 * swell) + 0.8 * foam * swell**2


def _wind(draw: np.random.Generator, samples: int) -> Wave:
    time = np.arange(samples) / SAMPLE_RATE
    gust = 0.5 + 0.5 * np.sin(2 * np.pi * (time * draw.uniform(0.15, 0.35) + draw.uniform(0, 1)))
    low, high = _shaped_noise(draw, samples, 250, 450), _shaped_noise(draw, samples, 550, 900)
    return low * (1.0 - gust) + high * gust * 1.2


def _clock(draw: np.random.Generator, samples: int) -> Wave:
    pitch = draw.uniform(2000, 2800)
    tick = _ring(0.06, [(pitch, 1.0, 0.006), (1.7 * pitch, 0.7, 0.004)])
    tock = _ring(0.06, [(0.75 * pitch, 1.0, 0.008), (1.3 * pitch, 0.5, 0.004)])
    start = draw.uniform(0.0, 0.2)
    return _repeat(tick, samples, start, 0.96) + _repeat(tock, samples, start + 0.48, 0.96)


def _ring(seconds: float, partials: list[tuple[float, float, float]]) -> Wave:
    """Sum of damped sines, each (hertz, level, decay in seconds)."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    ring = np.zeros(len(time))
    for hertz, level, decay in partials:
        ring += level * np.sin(2 * np.pi * hertz * time) * np.exp(-time / decay)
    return ring


def _shaped_noise(draw: np.random.Generator, samples: int, low: float, high: float) -> Wave:
    """White noise with a soft band from `low` to `high` hertz and unit deviation."""
    spectrum = np.fft.rfft(draw.standard_normal(samples))
    hertz = np.maximum(np.fft.rfftfreq(samples, 1 / SAMPLE_RATE), 1.0)
    noise = np.fft.irfft(spectrum / np.sqrt((1 + (low / hertz) ** 6) * (1 + (hertz / high) ** 4)), samples)
    return np.asarray(noise / noise.std())


def _smooth(wave: Wave, samples: int) -> Wave:
    return np.convolve(wave, np.hanning(samples) / np.hanning(samples).sum(), mode="same")


def _repeat(piece: Wave, samples: int, start: float, every: float) -> Wave:
    wave = np.zeros(samples)
    for onset in np.arange(start, samples / SAMPLE_RATE, every):
        _add(wave, piece, onset)
    return wave


def _add(wave: Wave, piece: Wave, seconds: float) -> None:
    onset = int(seconds * SAMPLE_RATE)
    kept = piece[: max(0, len(wave) - onset)]
    wave[onset : onset + len(kept)] += kept


_SOUNDS: dict[str, Callable[[np.random.Generator, int], Wave]] = {
    "rain": _rain,
    "bell": _bell,
    "siren": _siren,
    "beep": _beep,
    "knock": _knock,
    "wave": _wave,
    "wind": _wind,
    "clock": _clock,
}
