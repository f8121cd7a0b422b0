"""Integrated loudness of one channel (ITU-R BS.1770-4), and a peak limiter that looks ahead."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
SILENT = -70.0
"""LUFS of what the absolute gate lets nothing through of."""
OFFSET = -0.691
BLOCK_S, OVERLAP = 0.4, 4
LOOK_AHEAD_S = 0.005


def integrated(samples: Samples, sample_rate: int) -> float:
    """LUFS of samples [S]; at least -70. A sound of less than 400 ms is one block."""
    weighted = _k_weighted(samples, sample_rate)
    block = min(len(weighted), round(BLOCK_S * sample_rate))
    if block == 0:
        return SILENT
    hop = max(1, block // OVERLAP)
    totals = np.concatenate([[0.0], np.cumsum(weighted**2)])
    starts = np.arange(0, len(weighted) - block + 1, hop)
    powers = (totals[starts + block] - totals[starts]) / block
    gated = powers[powers > _power(SILENT)]
    if len(gated) == 0:
        return SILENT
    gated = gated[gated > gated.mean() / 10.0]
    return max(SILENT, OFFSET + 10.0 * math.log10(float(gated.mean())))


def peak_db(samples: Samples) -> float:
    """Largest sample in dBFS, at least -120."""
    largest = float(np.abs(samples).max(initial=0.0))
    return 20.0 * math.log10(max(largest, 1e-6))


def limited(samples: Samples, sample_rate: int, ceiling_db: float) -> Samples:
    """Samples none of which exceeds the ceiling; the gain sinks 5 ms ahead of a peak and rises as softly."""
    ceiling = 10.0 ** (ceiling_db / 20.0)
    needed = np.minimum(1.0, ceiling / np.maximum(np.abs(samples).astype(np.float64), 1e-9))
    if len(samples) == 0 or needed.min() >= 1.0:
        return samples
    reach = max(1, round(LOOK_AHEAD_S * sample_rate))
    lowest = _sliding_minimum(np.pad(needed, reach, mode="edge"), 2 * reach + 1)
    window = np.hanning(2 * reach + 3)[1:-1]
    gain = np.convolve(np.pad(lowest, reach, mode="edge"), window / window.sum(), mode="valid")
    return np.clip(samples * gain, -ceiling, ceiling).astype(np.float32)


def _sliding_minimum(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Minimum of each `size` neighbours, by doubling the reach."""
    reach, total = 1, len(values) - size + 1
    while 2 * reach <= size:
        values = np.minimum(values[:-reach], values[reach:])
        reach *= 2
    return np.minimum(values[:total], values[size - reach : size - reach + total])


def _k_weighted(samples: Samples, sample_rate: int) -> NDArray[np.float64]:
    """The two filters of BS.1770, applied as their frequency response with room for their ringing."""
    size = len(samples) + sample_rate
    turn = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    response = _response(_shelf(sample_rate), turn) * _response(_high_pass(sample_rate), turn)
    return np.fft.irfft(np.fft.rfft(samples, size) * response, size)[: len(samples)]


def _shelf(sample_rate: int) -> tuple[list[float], list[float]]:
    """The head's high shelf, for any sample rate: 4 dB above 1,682 Hz."""
    gain, quality, warp = 10.0 ** (3.999843853973347 / 20.0), 0.7071752369554196, 1681.974450955533
    bend = math.tan(math.pi * warp / sample_rate)
    middle = gain**0.4996667741545416
    over = [
        gain + middle * bend / quality + bend**2,
        2.0 * (bend**2 - gain),
        gain - middle * bend / quality + bend**2,
    ]
    return over, [1.0 + bend / quality + bend**2, 2.0 * (bend**2 - 1.0), 1.0 - bend / quality + bend**2]


def _high_pass(sample_rate: int) -> tuple[list[float], list[float]]:
    """The second stage: a high pass at 38 Hz."""
    quality, warp = 0.5003270373238773, 38.13547087602444
    bend = math.tan(math.pi * warp / sample_rate)
    scale = 1.0 + bend / quality + bend**2
    below = [1.0, 2.0 * (bend**2 - 1.0) / scale, (1.0 - bend / quality + bend**2) / scale]
    return [1.0, -2.0, 1.0], below


def _response(
    filter_: tuple[list[float], list[float]], turn: NDArray[np.complex128]
) -> NDArray[np.complex128]:
    over, below = (part[0] + part[1] * turn + part[2] * turn**2 for part in filter_)
    return over / below


def _power(lufs: float) -> float:
    return float(10.0 ** ((lufs - OFFSET) / 10.0))
