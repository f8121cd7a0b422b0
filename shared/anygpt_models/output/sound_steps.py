"""Steps on what is heard: denoise, resample, loudness, limit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anygpt.v1 import types_pb2
from anygpt_models.output.loudness import SILENT, Samples, integrated, limited, peak_db
from anygpt_models.output.media import Media, Sound

CEILING_DB = -1.0
"""Peaks stay below this, dBFS, so that lossy formats do not clip."""
WINDOW, HOP = 1024, 256
MARGIN_S = 0.05
NOISE_REACH = 8.0
"""What is so many times the floor (a tenth of noise is below it, nearly all below this) is left as it is."""


@dataclass(frozen=True, slots=True)
class DenoiseSound:
    """Lowers what stays near the noise floor of its frequency, by up to 24 dB; strength above 0, at most 1."""

    strength: float

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        assert isinstance(media, Sound)
        spectrum = _spectrum(media.samples)
        level = np.abs(spectrum)
        # Noise is broad: a median over neighbouring frequencies keeps held notes out of the floor.
        floor = _median_of_neighbours(np.quantile(level, 0.1, axis=0), 15)
        share = np.clip((level / np.maximum(NOISE_REACH * floor, 1e-9)) ** 2, 0.0, 1.0)
        least = 10.0 ** (-24.0 * self.strength / 20.0)
        samples = _sound(spectrum * (least + (1.0 - least) * share), len(media.samples))
        done = Sound(samples, media.sample_rate)
        before, after = (_floor_db(sound.samples) for sound in (media, done))
        return done, types_pb2.StepReport(
            step="denoise", metric="noise floor, dBFS", before=before, after=after
        )


@dataclass(frozen=True, slots=True)
class Resample:
    """To another sample rate, hertz, by an ideal low pass."""

    sample_rate: int

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        assert isinstance(media, Sound)
        samples = _resampled(media.samples, media.sample_rate, self.sample_rate)
        report = types_pb2.StepReport(
            step="resample", metric="Hz", before=media.sample_rate, after=self.sample_rate
        )
        return Sound(samples, self.sample_rate), report


@dataclass(frozen=True, slots=True)
class Loudness:
    """To an integrated loudness in LUFS, as it is after the limiter; silence stays silent."""

    lufs: float

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        assert isinstance(media, Sound)
        before = integrated(media.samples, media.sample_rate)
        samples, after = media.samples, before
        if before > SILENT:
            samples, after = self._brought(media, before)
        report = types_pb2.StepReport(step="loudness", metric="LUFS", before=before, after=after)
        return Sound(samples, media.sample_rate), report

    def _brought(self, media: Sound, before: float) -> tuple[Samples, float]:
        """The samples at a gain whose limited sound is as loud as asked, and that loudness."""
        gain_db, after = 0.0, before
        samples = media.samples
        for _ in range(8):
            gain_db += self.lufs - after
            samples = (media.samples * 10.0 ** (gain_db / 20.0)).astype(np.float32)
            after = integrated(limited(samples, media.sample_rate, CEILING_DB), media.sample_rate)
            if abs(after - self.lufs) < 0.05:
                break
        return samples, after


@dataclass(frozen=True, slots=True)
class Limit:
    """No peak above -1 dBFS."""

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """See Step."""
        assert isinstance(media, Sound)
        samples = limited(media.samples, media.sample_rate, CEILING_DB)
        report = types_pb2.StepReport(
            step="limit", metric="peak, dBFS", before=peak_db(media.samples), after=peak_db(samples)
        )
        return Sound(samples, media.sample_rate), report


def _resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """Both lengths of the transform are whole numbers of samples for any pair of rates."""
    shared = math.gcd(rate, wanted)
    unit = rate // shared
    pad = unit * math.ceil(MARGIN_S * rate / unit)
    count = round(len(samples) * wanted / rate)
    padded = np.pad(samples.astype(np.float64), (pad, pad + -len(samples) % unit))
    length = len(padded) // unit * (wanted // shared)
    spectrum = np.fft.rfft(padded)
    kept = np.zeros(length // 2 + 1, dtype=np.complex128)
    share = min(len(kept), len(spectrum))
    kept[:share] = spectrum[:share]
    start = pad // unit * (wanted // shared)
    wave = np.fft.irfft(kept, length)[start : start + count] * (length / len(padded))
    return wave.astype(np.float32)


def _spectrum(samples: Samples) -> NDArray[np.complex128]:
    """Spectra [T, 513] of windows that overlap by three quarters."""
    padded = np.pad(samples.astype(np.float64), (WINDOW, WINDOW + -len(samples) % HOP))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    return np.fft.rfft(pieces * np.hanning(WINDOW + 1)[:-1], axis=1)


def _sound(spectrum: NDArray[np.complex128], count: int) -> Samples:
    """Samples [count] of spectra, by overlap and add; squared Hann windows a quarter apart sum to 1.5."""
    pieces = np.fft.irfft(spectrum, WINDOW, axis=1) * np.hanning(WINDOW + 1)[:-1] / 1.5
    wave = np.zeros((len(pieces) - 1) * HOP + WINDOW)
    for place, piece in enumerate(pieces):
        wave[place * HOP : place * HOP + WINDOW] += piece
    return wave[WINDOW : WINDOW + count].astype(np.float32)


def _median_of_neighbours(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    padded = np.pad(values, radius, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1)
    return np.asarray(np.median(windows, axis=1))


def _floor_db(samples: Samples) -> float:
    """Level of the quietest tenth of a second in ten, dBFS, at least -120."""
    power = np.square(samples[: len(samples) // 160 * 160].astype(np.float64)).reshape(-1, 160).mean(axis=1)
    quiet = float(np.quantile(power, 0.1)) if len(power) else 0.0
    return 10.0 * math.log10(max(quiet, 1e-12))
