"""Whether music is what was asked for: over every instrument and mood, real, through the codec, and composed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anygpt_models.audio_pipeline import AudioPipeline
from anygpt_models.audio_recogniser import AudioRecogniser
from anygpt_models.spectrogram import log_mel
from services.trainer import judge_audio
from services.trainer.data import world
from services.trainer.data.audio import clips
from services.trainer.recipe import Recipe
from services.trainer.sheet import Cell, Sheet

Waves = NDArray[np.float32]
PIECES = list(product(world.INSTRUMENTS, world.MOODS))
FAST_BEATS_PER_MINUTE = 100


def run_judge(recipe: Recipe) -> None:
    """Print the judgement of held-out clips, of their round trip through the codec, and of composed ones."""
    pipe, recogniser = AudioPipeline.assemble(recipe.pack), recipe.part(AudioRecogniser, "audio_recogniser")
    real = held_out(recipe)
    rounded = pipe(codes=pipe.audio_codec.encode(torch.as_tensor(real))).audios
    made = composed(pipe, [world.music_caption(*piece) for piece in PIECES], seed=7)
    for name, waves in (("real", real), ("codec", rounded), ("composed", made)):
        print(name, *(f"{key} {value:.3f}" for key, value in judged(waves, recogniser).items()))
        picture(waves[::4], recipe.folder / f"{name}.png")
    sounds = composed(pipe, [world.sound_caption(sound) for sound in world.SOUNDS], seed=7)
    heard = [sound for _, _, sound in recogniser.name(torch.as_tensor(sounds))]
    print("composed sounds", *(f"{asked}: {got}" for asked, got in zip(world.SOUNDS, heard, strict=True)))
    picture(sounds, recipe.folder / "sounds.png")


def held_out(recipe: Recipe) -> Waves:
    """One clip of every piece that no part has learned from."""
    data = clips(recipe.cache)
    rows = {(clip.instrument, clip.mood): row for row, clip in enumerate(data.index) if clip.held_out}
    return data.waveforms([rows[piece] for piece in PIECES])


def composed(pipe: AudioPipeline, captions: list[str], seed: int) -> Waves:
    """What the pipeline makes of captions, each with its own seed."""
    generators = [torch.Generator().manual_seed(seed + row) for row in range(len(captions))]
    waves: Waves = pipe(caption=captions, generator=generators).audios
    return waves


def judged(waves: Waves, recogniser: AudioRecogniser) -> dict[str, float]:
    """Share of pieces with the right instrument (recogniser), tempo and mode (signal analysis), in PIECES' order."""
    names = [instrument for instrument, _, _ in recogniser.name(torch.as_tensor(waves))]
    is_fast = {mood: beats > FAST_BEATS_PER_MINUTE for mood, (_, beats) in world.MOODS.items()}
    return {
        "instrument": _share(names, lambda instrument, mood: instrument),
        "tempo": _share(
            [judge_audio.tempo(wave) == "fast" for wave in waves], lambda instrument, mood: is_fast[mood]
        ),
        "mode": _share(
            [judge_audio.mode(wave) for wave in waves], lambda instrument, mood: world.MOODS[mood][0]
        ),
    }


def picture(waves: Waves, path: Path) -> None:
    """Draw the mels of waveforms [N, S] as one PNG."""
    Sheet("", [Cell(mel) for mel in log_mel(torch.as_tensor(waves))], columns=4).save(path)


def _share(heard: Sequence[object], asked: Callable[[str, str], object]) -> float:
    return sum(got == asked(*piece) for got, piece in zip(heard, PIECES, strict=True)) / len(PIECES)
