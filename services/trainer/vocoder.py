"""Recipe of the vocoder: linear magnitudes from mels of music, sounds and speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor

from anygpt_models.spectrogram import HOP, magnitude, mel_of_magnitude, pseudo_inverse
from anygpt_models.vocoder import Vocoder
from services.trainer.data.audio import clips
from services.trainer.device import full_precision
from services.trainer.loop import train
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet, before

PART = "vocoder"
FAINT = 1e-4
"""Added to magnitudes that are drawn: nothing is below it."""
CROP = 64
"""Frames of a training crop: a second."""


def run_vocoder(recipe: Recipe) -> None:
    """Learn linear magnitudes from mels of music, sounds and, where it has been built, speech."""
    data = clips(recipe.cache)
    exact = set(data.exact_rows)
    rows = [row for row in data.rows(held_out=False) if row in exact]
    music = torch.as_tensor(data.samples[rows].reshape(-1))
    sources, model = [music, *voices(recipe.cache, "train")], recipe.build(Vocoder, PART)

    def step(_: int) -> Tensor:
        linear, mel = spectra(sources, recipe.many(24))
        return spectral_loss(model.linear(mel), linear)

    def sample() -> Sheet:
        linear, mel = spectra(sources, 12)
        found = model.linear(mel)
        heard = zip(linear, found, strict=True)
        cells = [Cell(before(*((each + FAINT).log() for each in pair))) for pair in heard]
        return Sheet(f"spectral convergence {spectral_convergence(found, linear):.3f}", cells, columns=6)

    train(recipe.run(PART, learning_rate=2e-3), model, step, sample)
    recipe.keep(model, PART)
    judge(recipe)


def judge(recipe: Recipe) -> dict[str, float]:
    """Spectral convergence on held-out music and speech, of the vocoder in the pack and of the pseudo-inverse."""
    model, data = recipe.part(Vocoder, PART), clips(recipe.cache)
    sources = {"audio": torch.as_tensor(data.samples[data.rows(held_out=True)].reshape(-1))}
    sources |= {f"speech {index}": wave for index, wave in enumerate(voices(recipe.cache, "held_out"))}
    found = {}
    for name, source in sources.items():
        torch.manual_seed(0)
        linear, mel = spectra([source], 64)
        found[name] = spectral_convergence(model.linear(mel), linear)
        found[f"{name}, pseudo-inverse"] = spectral_convergence(pseudo_inverse(mel), linear)
    print(*(f"{name}: {value:.3f}" for name, value in found.items()), sep="\n")
    return found


def spectral_loss(estimate: Tensor, linear: Tensor) -> Tensor:
    """Spectral convergence plus the distance of log magnitudes, which gives the soft bins their say."""
    floor = 1e-3 * linear.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-3)
    logs = ((estimate + floor).log() - (linear + floor).log()).abs().mean()
    norms = (estimate - linear).flatten(1).norm(dim=1) / linear.flatten(1).norm(dim=1).clamp(min=1e-3)
    loss: Tensor = norms.mean() + 0.5 * logs
    return loss


def spectral_convergence(estimate: Tensor, linear: Tensor) -> float:
    """Norm of the error over the norm of the truth."""
    return float((estimate - linear).norm() / linear.norm())


def spectra(sources: list[Tensor], count: int) -> tuple[Tensor, Tensor]:
    """Linear magnitudes [count, 513, 64] of random crops and their mels [count, 80, 64], in full precision."""
    with full_precision():
        linear = magnitude(_crops(sources, count))
        return linear, mel_of_magnitude(linear)


def voices(cache: Path, part: str) -> list[Tensor]:
    """16-bit samples of each voice that has been built, its utterances joined."""
    folders = sorted((cache / "data" / "speech" / part).glob("*/"))
    files = [sorted(folder.glob("*.safetensors")) for folder in folders]
    return [
        torch.as_tensor(np.concatenate([load_file(path)["waveform"] for path in some]))
        for some in files
        if some
    ]


def _crops(sources: list[Tensor], count: int) -> Tensor:
    """Waveforms [count, 16384]: each source gives its share of crops, at a random level."""
    rows = []
    for place, source in enumerate(sources):
        share = len(range(place, count, len(sources)))
        starts = torch.randint(len(source) - CROP * HOP, (share, 1))
        rows.append(source[starts + torch.arange(CROP * HOP)].float() / 32768.0)
    return torch.cat(rows) * torch.empty(count, 1).uniform_(-1.6, 0.4).exp()
