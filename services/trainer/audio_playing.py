"""Who plays what in the clips that a pack learns from, and what all who play the same notes have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from anygpt_models.audio_codec import fitted, levelled
from anygpt_models.spectrogram import log_mel
from services.trainer.data import world
from services.trainer.data.audio import Clip, Clips, clips, exercises
from services.trainer.data.mixture import pick

PLAYERS = (*world.INSTRUMENTS, *world.SOUNDS)
KEYS = (-2, -1, 0, 1, 2)
"""Semitones by which clips are played higher, and so faster."""
AT_ONCE = 64


@dataclass(frozen=True)
class Playing:
    """Clips that are trained on, in some keys: mels [keys, N, 80, 320], who plays each [N], and what they play.

    That is rows [N] of contents [keys, M, 80, 320]. A content is the mean of the mels of all instruments that play
    the same notes; that of a sound is its own mel.
    """

    index: list[Clip]
    mels: Tensor
    players: Tensor
    contents: Tensor
    rows: Tensor

    @classmethod
    def pieces(cls, cache: Path) -> Playing:
        """Music and sounds of the cache."""
        return cls._of([trained(clips(cache))], (0,))

    @classmethod
    def everything(cls, cache: Path, keys: tuple[int, ...] = (0,)) -> Playing:
        """These, then exercises; a key is a number of semitones by which a clip is played faster."""
        return cls._of([trained(clips(cache)), trained(exercises(cache))], keys)

    @classmethod
    def _of(cls, parts: list[tuple[list[Clip], Tensor]], keys: tuple[int, ...]) -> Playing:
        index = [clip for clips, _ in parts for clip in clips]
        waves = torch.cat([waves for _, waves in parts])
        mels = torch.stack([_mels(faster(waves, key)) for key in keys])
        found: dict[tuple[str, int], list[int]] = defaultdict(list)
        for place, clip in enumerate(index):
            found[clip.mood or clip.sound, clip.variation].append(place)
        rows = torch.empty(len(index), dtype=torch.long)
        for row, places in enumerate(found.values()):
            rows[places] = row
        contents = torch.stack([mels[:, places].mean(1) for places in found.values()], dim=1)
        return cls(index, mels, torch.tensor([PLAYERS.index(player(clip)) for clip in index]), contents, rows)

    def any_clips(self, count: int) -> Tensor:
        """Clips of random players, int64 [count]: who plays little is heard as often as the others."""
        return self.another(torch.randint(len(PLAYERS), (count,)))

    def another(self, players: Tensor) -> Tensor:
        """A random clip of each of some players [B]."""
        return torch.stack([pick(torch.nonzero(self.players == who)[:, 0], 1)[0] for who in players])


def trained(data: Clips) -> tuple[list[Clip], Tensor]:
    """The clips that a pack learns from, and their waveforms [N, 81920]."""
    rows = data.trained()
    return [data.index[row] for row in rows], torch.as_tensor(data.waveforms(rows))


def faster(waves: Tensor, semitones: int) -> Tensor:
    """Waveforms [N, S] at another speed, and so in another key."""
    if semitones == 0:
        return waves
    length = round(waves.shape[1] / 2 ** (semitones / 12))
    return functional.interpolate(waves[:, None], length, mode="linear", align_corners=False)[:, 0]


def _mels(waves: Tensor) -> Tensor:
    return by_parts(lambda some: levelled(log_mel(fitted(some))), waves)


@torch.no_grad()
def by_parts(net: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """What a net makes of many rows, `AT_ONCE` at a time, without gradients."""
    return torch.cat([net(some) for some in rows.split(AT_ONCE)])


def player(clip: Clip) -> str:
    """The instrument, or the sound."""
    return clip.instrument or clip.sound
