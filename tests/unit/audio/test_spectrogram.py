"""The mel definition: what goes in comes out again, and odd input does no harm."""

from __future__ import annotations

import math

import pytest
import torch

from anygpt_models.spectrogram import (
    BINS,
    HOP,
    MELS,
    SAMPLE_RATE,
    SILENCE,
    frames,
    griffin_lim,
    istft,
    log_mel,
    magnitude,
    mel_filters,
    pseudo_inverse,
    stft,
)


def tones(seconds: float = 1.0) -> torch.Tensor:
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return 0.3 * torch.sin(2 * math.pi * 440 * time) + 0.2 * torch.sin(2 * math.pi * 1330 * time)


def test_a_waveform_survives_its_spectrum() -> None:
    wave = torch.randn(2, 10 * HOP, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(istft(stft(wave)), wave, atol=1e-4)


def test_every_mel_band_hears_something_and_has_unit_area() -> None:
    assert mel_filters().shape == (MELS, BINS)
    areas = mel_filters()[20:].sum(dim=1) * SAMPLE_RATE / 1024
    assert torch.allclose(areas, torch.ones_like(areas), atol=0.05)


@pytest.mark.parametrize("samples", [0, 1, 255, 256, 257, 16_000])
def test_any_length_has_its_frames(samples: int) -> None:
    mel = log_mel(torch.zeros(3, samples))
    assert mel.shape == (3, MELS, frames(samples))
    assert torch.allclose(mel, torch.full_like(mel, SILENCE))


def test_griffin_lim_finds_a_waveform_with_the_magnitude_that_was_asked_for() -> None:
    asked = magnitude(tones())
    found = magnitude(griffin_lim(asked))
    assert float((found - asked).norm() / asked.norm()) < 0.1


def test_griffin_lim_is_a_function_of_its_input() -> None:
    asked = magnitude(tones(0.3))
    assert torch.equal(griffin_lim(asked, 4), griffin_lim(asked, 4))


def test_the_pseudo_inverse_brings_the_loud_bins_back() -> None:
    asked = magnitude(tones())
    guess = pseudo_inverse(log_mel(tones()))
    assert float((guess - asked).norm() / asked.norm()) < 0.6


def test_gradients_pass_even_at_silence() -> None:
    wave = torch.zeros(1, 2 * HOP, requires_grad=True)
    log_mel(wave).sum().backward()
    assert wave.grad is not None
    assert bool(wave.grad.isfinite().all())
