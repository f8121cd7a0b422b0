"""Recipe of the audio recogniser: instrument, mood and sound of a clip, whatever its key, level and start."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.audio_codec import SAMPLES, AudioCodec, levelled
from anygpt_models.audio_recogniser import NONE, AudioRecogniser
from anygpt_models.spectrogram import log_mel
from services.trainer.audio_codec import PART as CODEC
from services.trainer.audio_codec import SHOWN
from services.trainer.audio_playing import trained
from services.trainer.data import world
from services.trainer.data.audio import Clip, clips, exercises
from services.trainer.data.spread import spread
from services.trainer.device import full_precision
from services.trainer.loop import train
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet

PART = "audio_recogniser"
SEMITONES = 3.0
"""Clips are played faster or slower by up to so many semitones; the tempi stay far apart."""
POINTS, FILTER = 8, 1.0
"""Bands of a random filter, and by how many nepers each is louder or softer."""
NOISE = 0.15


def run_recogniser(recipe: Recipe) -> None:
    """Learn the classes of clips that no judge asks about, under changes of pitch, level and start.

    Who plays is learned from exercises too, as some instruments are known in one mood only: it would tell them. Moods
    are learned from contents, behind random filters, so that they are not told by who plays.
    """
    music, pieces = trained(clips(recipe.cache))
    practice, exercised = trained(exercises(recipe.cache))
    waves, classes = torch.cat([pieces, exercised]), labels([*music, *practice])
    is_piece = torch.arange(len(waves)) < len(music)
    model = recipe.build(AudioRecogniser, PART, tuple(world.INSTRUMENTS), tuple(world.MOODS), world.SOUNDS)
    model.content.load_state_dict(recipe.part(AudioCodec, CODEC).content.state_dict())
    model.content.requires_grad_(False)

    def step(_: int) -> Tensor:
        chosen = torch.randint(len(waves), (recipe.many(32),))
        with full_precision():
            mel = levelled(log_mel(played(waves[chosen])))
        mel = mel + NOISE * torch.randn_like(mel)
        found = model.classes(model.features_of(mel, filtered(model.content(mel))))
        player, mood, sound = (unlikely(*pair) for pair in zip(found, classes[chosen].unbind(1), strict=True))
        return (player + sound + mood * is_piece[chosen]).mean()

    def sample() -> Sheet:
        data = clips(recipe.cache)
        rows = spread(data.kept(), SHOWN)
        heard = torch.as_tensor(data.waveforms(rows))
        names = (" ".join(name for name in names if name != NONE) for names in model.name(heard))
        shown = zip(levelled(log_mel(heard)), names, rows, strict=True)
        cells = [Cell(mel, f"{data.index[row].caption}: heard {name}") for mel, name, row in shown]
        return Sheet(f"{len(rows)} held-out pieces named", cells, columns=3)

    train(recipe.run(PART, learning_rate=2e-3, warmup=100, weight_decay=0.05), model, step, sample)
    recipe.keep(model, PART)
    judge(recipe)


@torch.no_grad()
def judge(recipe: Recipe) -> dict[str, float]:
    """Share of held-out clips that the recogniser in the pack names rightly, by class: recordings, then pieces."""
    model, data = recipe.part(AudioRecogniser, PART), clips(recipe.cache)
    found = {}
    for which, rows in (("recordings", data.rows(held_out=True)), ("pieces", data.kept())):
        classes = labels([data.index[row] for row in rows])
        logits = model(log_mel(torch.as_tensor(data.waveforms(rows))))
        for kind, (name, part) in enumerate(zip(("instrument", "mood", "sound"), logits, strict=True)):
            asked = classes[:, kind] < part.shape[1] - 1
            found[f"{which}: {name}"] = float((part.argmax(1) == classes[:, kind])[asked].float().mean())
    print("held-out", *(f"{name} {value:.3f}" for name, value in found.items()))
    return found


def unlikely(logits: Tensor, classes: Tensor) -> Tensor:
    """Smoothed cross-entropy [B]."""
    return functional.cross_entropy(logits.float(), classes, label_smoothing=0.05, reduction="none")


def filtered(mel: Tensor) -> Tensor:
    """Log mels [B, 80, T], each behind a smooth random filter and with another range of loudness."""
    curve = functional.interpolate(
        FILTER * torch.randn(len(mel), 1, POINTS), mel.shape[1], mode="linear", align_corners=True
    )
    middle = mel.mean((1, 2), keepdim=True)
    return middle + (mel - middle) * torch.empty(len(mel), 1, 1).uniform_(0.7, 1.3) + curve.transpose(1, 2)


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
