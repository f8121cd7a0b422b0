"""Log-mel energies as Kaldi computes them, which ImageBind and the audio transformers were trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class MelBands:
    """25 ms Hann windows every 10 ms, offset removed, pre-emphasis, power, mel bands, natural log."""

    bands: int = 128
    sample_rate: int = 16_000
    low_hz: float = 20.0
    emphasis: float = 0.97

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Samples [S] -> log energies [bands, frames]; only whole windows count."""
        width, hop = round(0.025 * self.sample_rate), round(0.010 * self.sample_rate)
        size = 1 << (width - 1).bit_length()
        samples = samples - samples.mean()
        windows = np.lib.stride_tricks.sliding_window_view(samples, width)[::hop].astype(np.float64)
        windows = windows - windows.mean(axis=1, keepdims=True)
        before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
        shaped = (windows - self.emphasis * before) * np.hanning(width)
        power = np.abs(np.fft.rfft(shaped, size)[:, : size // 2]) ** 2
        energies = power @ self._filters(size).T
        return np.log(np.maximum(energies, np.finfo(np.float32).eps)).T.astype(np.float32)

    def _filters(self, size: int) -> NDArray[np.float64]:
        """Triangles [bands, size / 2] of equal width on the mel scale, up to half the sample rate."""
        edges = np.linspace(_mel(self.low_hz), _mel(self.sample_rate / 2), self.bands + 2)
        bins = np.array([_mel(place * self.sample_rate / size) for place in range(size // 2)])
        left, centre, right = (edges[offset : offset + self.bands, None] for offset in range(3))
        rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
        triangles: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
        return triangles


def _mel(hertz: float) -> float:
    return 1127.0 * float(np.log1p(hertz / 700.0))
