"""What decoders make, before it is a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """Pixels uint8 [H, W, 3]."""

    pixels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames uint8 [T, H, W, 3] at an even rate."""

    frames: NDArray[np.uint8]
    frame_rate: float


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Samples float32 [S] in -1..1, one channel."""

    samples: NDArray[np.float32]
    sample_rate: int


Media: TypeAlias = Picture | Clip | Sound
