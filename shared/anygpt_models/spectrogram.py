"""The one mel definition of the project: 16 kHz mono, 1,024-point Hann windows, hop 256, 80 log mel bands.

Everything here is plain torch: deterministic, differentiable and free of learned weights.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F

SAMPLE_RATE = 16_000
N_FFT = 1_024
HOP = 256
MELS = 80
BINS = N_FFT // 2 + 1
FLOOR = 1e-5
"""Smallest mel amplitude: silence is log(FLOOR) in each band."""
SILENCE = math.log(FLOOR)
MOMENTUM = 0.99
"""Perraudin, Balazs, Soendergaard 2013, A fast Griffin-Lim algorithm, section 3."""


@functools.cache
@torch.inference_mode(mode=False)  # what is kept may be trained through later
def mel_filters() -> torch.Tensor:
    """Triangular filters [80, 513] on the Slaney mel scale, 0 to 8,000 Hz, each of unit area."""
    edges = _hertz(torch.linspace(0.0, float(_mels(SAMPLE_RATE / 2)), MELS + 2, dtype=torch.float64))
    bins = torch.linspace(0.0, SAMPLE_RATE / 2, BINS, dtype=torch.float64)
    width = edges.diff()
    ramps = edges[:, None] - bins[None, :]
    triangles = torch.minimum(-ramps[:-2] / width[:-1, None], ramps[2:] / width[1:, None]).clamp(min=0.0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


@functools.cache
@torch.inference_mode(mode=False)  # what is kept may be trained through later
def mel_inverse() -> torch.Tensor:
    """Pseudo-inverse [513, 80] of the mel filters."""
    inverse: torch.Tensor = torch.linalg.pinv(mel_filters().double()).float()
    return inverse


def frames(samples: int) -> int:
    """Number of spectrogram frames of a waveform of `samples` samples (at least one)."""
    return max(1, -(-samples // HOP))


def stft(waveform: torch.Tensor) -> torch.Tensor:
    """Complex spectrogram [..., 513, T] of a waveform [..., S], with T = frames(S)."""
    *shape, samples = waveform.shape
    count = frames(samples)
    padded = F.pad(waveform, (N_FFT // 2, count * HOP - samples + N_FFT // 2))
    flat = padded.reshape(-1, padded.shape[-1])
    window = _window().to(flat)
    spectrum = torch.stft(flat, N_FFT, HOP, window=window, center=False, return_complex=True)
    return spectrum[..., :count].reshape(*shape, BINS, count)


def istft(spectrum: torch.Tensor) -> torch.Tensor:
    """Waveform [..., T * 256] of a complex spectrogram [..., 513, T]: least squares overlap-add."""
    shape, count = spectrum.shape[:-2], spectrum.shape[-1]
    flat = spectrum.reshape(-1, BINS, count)
    window = _window().to(flat.device)
    pieces = torch.fft.irfft(flat, N_FFT, dim=1) * window[:, None]
    length = (count - 1) * HOP + N_FFT
    overlap = _overlap_add(pieces, length)
    weight = _overlap_add((window**2)[None, :, None].expand(1, N_FFT, count), length)
    kept = slice(N_FFT // 2, N_FFT // 2 + count * HOP)
    waveform = overlap[:, kept] / weight[:, kept].clamp(min=1e-3)
    return waveform.reshape(*shape, -1)


def magnitude(waveform: torch.Tensor) -> torch.Tensor:
    """Linear magnitude [..., 513, T] of a waveform [..., S]; differentiable at silence too."""
    spectrum = stft(waveform)
    return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt()


def log_mel(waveform: torch.Tensor) -> torch.Tensor:
    """Natural log mel amplitudes [..., 80, T] of a waveform [..., S] in [-1, 1]."""
    return mel_of_magnitude(magnitude(waveform))


def mel_of_magnitude(linear: torch.Tensor) -> torch.Tensor:
    """Natural log mel amplitudes [..., 80, T] of a linear magnitude [..., 513, T]."""
    return (mel_filters().to(linear) @ linear).clamp(min=FLOOR).log()


def pseudo_inverse(mel: torch.Tensor) -> torch.Tensor:
    """Linear magnitude [..., 513, T] estimated from log mels [..., 80, T] without learned weights."""
    return (mel_inverse().to(mel) @ mel.exp()).clamp(min=0.0)


def griffin_lim(linear: torch.Tensor, iterations: int = 24) -> torch.Tensor:
    """Waveform [..., T * 256] whose magnitude is near `linear` [..., 513, T].

    Fast Griffin-Lim (Perraudin et al. 2013) from the phase that sines at the spectral peaks would have, so that the
    result is a function of the input alone.
    """
    target = linear.to(torch.complex64)
    angles = start_phase(linear)
    previous = torch.zeros_like(target)
    for _ in range(iterations):
        rebuilt = stft(istft(target * angles))
        angles = rebuilt + MOMENTUM * (rebuilt - previous)
        angles = angles / angles.abs().clamp(min=1e-9)
        previous = rebuilt
    return istft(target * angles)


def start_phase(linear: torch.Tensor) -> torch.Tensor:
    """Unit phases [..., 513, T]: each bin turns with the frequency of the peak that is nearest to it.

    Single-pass spectrogram inversion (Beauregard, Harish, Wyse 2015), with parabolic interpolation of the peaks.
    """
    bins = torch.arange(BINS, device=linear.device)[:, None].expand(linear.shape)
    below, middle, above = linear[..., :-2, :], linear[..., 1:-1, :], linear[..., 2:, :]
    is_peak = F.pad((middle > above) & (middle >= below), (0, 0, 1, 1))
    bend = (below - 2.0 * middle + above).clamp(max=-1e-9)
    offset = F.pad((0.5 * (below - above) / bend).clamp(-0.5, 0.5), (0, 0, 1, 1))
    lower = torch.where(is_peak, bins, -BINS).cummax(-2).values
    upper = torch.where(is_peak, bins, 2 * BINS).flip(-2).cummin(-2).values.flip(-2)
    peak = torch.where(bins - lower <= upper - bins, lower, upper).clamp(0, BINS - 1)
    turns = ((peak + offset.gather(-2, peak)) * (HOP / N_FFT)).double().cumsum(-1)
    # Neighbouring bins of one sine differ by half a turn, because a frame is centred on its window.
    phase = 2.0 * math.pi * torch.frac(turns + 0.5 * (bins % 2)).float()
    return torch.polar(torch.ones_like(phase), phase)


def _overlap_add(pieces: torch.Tensor, length: int) -> torch.Tensor:
    folded = F.fold(pieces, (1, length), (1, N_FFT), stride=(1, HOP))
    return folded[:, 0, 0]


def _window() -> torch.Tensor:
    return torch.hann_window(N_FFT)


def _mels(hertz: float) -> float:
    """Slaney's scale: linear to 1 kHz, logarithmic above."""
    return hertz * 3.0 / 200.0 if hertz < 1000.0 else 15.0 + math.log(hertz / 1000.0) * 27.0 / math.log(6.4)


def _hertz(mels: torch.Tensor) -> torch.Tensor:
    return torch.where(
        mels < 15.0, mels * 200.0 / 3.0, 1000.0 * torch.exp((mels - 15.0) * math.log(6.4) / 27.0)
    )
