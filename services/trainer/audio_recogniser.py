"""Recipe of the audio recogniser: instrument, mood and sound of a clip, whatever its key, level and start."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.audio_codec import SAMPLES
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.spectrogram import log_mel
from services.trainer.data import world
from services.trainer.data.audio import Clip, clips
from services.trainer.device import full_precision
from services.trainer.loop import train
from services.trainer.recipe import Recipe

PART = "audio_recogniser"
SEMITONES = 3.0
"""Clips are played faster or slower by up to so many semitones; the tempi stay far apart."""


def run_recogniser(recipe: Recipe) -> None:
    """Learn the classes of all clips that are not held out, under changes of pitch, level and start."""
    data = clips(recipe.cache)
    rows = data.rows(held_out=False)
    waves, classes = torch.as_tensor(data.waveforms(rows)), labels([data.index[row] for row in rows])
    model = recipe.build(AudioRecogniser, PART, tuple(world.INSTRUMENTS), tuple(world.MOODS), world.SOUNDS)

    def step(_: int) -> Tensor:
        chosen = torch.randint(len(waves), (recipe.many(32),))
        with full_precision():
            mel = log_mel(played(waves[chosen]))
        mel = mel + 0.15 * torch.randn_like(mel)
        return sum(
            (functional.cross_entropy(part.float(), classes[chosen, kind], label_smoothing=0.05)
            for kind, part in enumerate(model(mel))), start=torch.zeros(()),
        )  # fmt: skip

    train(recipe.run(PART, learning_rate=2e-3, warmup=100, weight_decay=0.05), model, step)
    recipe.keep(model, PART)
    judge(recipe)


def judge(recipe: Recipe) -> dict[str, float]:
    """Share of held-out clips that the recogniser in the pack names rightly, by class."""
    model, data = recipe.part(AudioRecogniser, PART), clips(recipe.cache)
    rows = data.rows(held_out=True)
    classes = labels([data.index[row] for row in rows])
    logits = model(log_mel(torch.as_tensor(data.waveforms(rows))))
    found = {}
    for kind, (name, part) in enumerate(zip(("instrument", "mood", "sound"), logits, strict=True)):
        asked = classes[:, kind] < part.shape[1] - 1
        found[name] = float((part.argmax(1) == classes[:, kind])[asked].float().mean())
    print("held-out variations:", *(f"{name} {value:.3f}" for name, value in found.items()))
    return found


def labels(index: list[Clip]) -> Tensor:
    """Classes int64 [N, 3] of instrument, mood and sound; the last class of each is `none`."""
    kinds = (list(world.INSTRUMENTS), list(world.MOODS), list(world.SOUNDS))
    names = [(clip.instrument, clip.mood, clip.sound) for clip in index]
    return torch.tensor([
        [kind.index(name) if name else len(kind) for kind, name in zip(kinds, row, strict=True)] for row in names
    ])  # fmt: skip


def played(waves: Tensor) -> Tensor:
    """Waveforms [B, 81920] of which three quarters are played at another speed, level and start."""
    rows = []
    for wave in waves:
        speed = 2.0 ** (float(torch.empty(()).uniform_(-SEMITONES, SEMITONES)) / 12)
        if torch.rand(()) < 0.25:
            rows.append(wave)
            continue
        length = round(SAMPLES / speed)
        stretched = functional.interpolate(wave[None, None], length, mode="linear", align_corners=False)[0, 0]
        start = int(torch.randint(4096, ()))
        heard = stretched.roll(start)[:SAMPLES]
        rows.append(
            functional.pad(heard, (0, SAMPLES - len(heard))) * float(torch.empty(()).uniform_(0.3, 1.3))
        )
    return torch.stack(rows)
