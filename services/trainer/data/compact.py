"""Sounds and pictures in few bytes, with nothing but numpy, torch and Pillow: for training data that has to travel.

A log mel is a picture: as lossy WebP it takes 0.6 KB a second at 0.1 nepers of error (FluidR3 music). Some sound also
travels as samples, 8 bits each, for what must learn to make it.
"""

from __future__ import annotations

import io
import lzma
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anygpt_models.spectrogram import griffin_lim, pseudo_inverse
from services.trainer.data.stored import floats

QUIETEST, LOUDEST = -7.0, 2.5
"""Log mels beyond these are drawn black and white."""
MEL_QUALITY, PICTURE_QUALITY = 60, 60
LONGEST = 16_000
"""Frames beside each other in one picture, below WebP's limit of 16,383."""
ROUNDS = 8
"""Of Griffin-Lim: what is rebuilt is heard by mel again."""
MU = 255.0


def mels_as_picture(mels: Sequence[Tensor]) -> bytes:
    """Log mels [80, T] beside each other as one picture of at most `LONGEST` columns."""
    joined = torch.cat([mel.float() for mel in mels], dim=1).clamp(QUIETEST, LOUDEST)
    grey = ((joined - QUIETEST) / (LOUDEST - QUIETEST) * 255).round().byte().cpu().numpy()
    return _webp(Image.fromarray(grey), MEL_QUALITY)


def mels_of_picture(data: bytes, lengths: Sequence[int]) -> list[Tensor]:
    """The inverse of `mels_as_picture`, up to what a lossy picture keeps."""
    grey = np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=np.float32)
    mel = torch.as_tensor(grey / 255 * (LOUDEST - QUIETEST) + QUIETEST)
    return list(mel.split(list(lengths), dim=1))


def sound_of(mels: Tensor) -> NDArray[np.int16]:
    """Log mels [B, 80, T] -> samples [B, 256 T] that have about these mels."""
    # Black is silence: its floor would be heard as a hiss.
    linear = pseudo_inverse(torch.where(mels > QUIETEST + 0.05, mels, -11.5))
    waves = griffin_lim(linear, ROUNDS).clamp(-1, 1)
    return np.asarray((waves * 32767).round().short().cpu().numpy())


def samples_as_bytes(samples: NDArray[np.int16]) -> bytes:
    """Samples [S] by mu-law, 8 bits each, and packed."""
    wave = floats(samples)
    companded = np.sign(wave) * np.log1p(MU * np.abs(wave)) / np.log1p(MU)
    return lzma.compress(np.round(companded * 127).astype(np.int8).tobytes(), preset=9)


def samples_of_bytes(data: bytes) -> NDArray[np.int16]:
    """The inverse of `samples_as_bytes`, at about 38 dB."""
    companded = np.frombuffer(lzma.decompress(data), np.int8).astype(np.float32) / 127
    wave = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(MU)) / MU
    return np.asarray(np.round(wave * 32767), dtype=np.int16)


def picture_as_bytes(rgba: NDArray[np.uint8]) -> bytes:
    """Pixels uint8 [H, W, 4] as a lossy picture."""
    return _webp(Image.fromarray(rgba), PICTURE_QUALITY)


def picture_of_bytes(data: bytes) -> NDArray[np.uint8]:
    """Pixels uint8 [H, W, 4]."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def _webp(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "webp", quality=quality, alpha_quality=quality, method=6)
    return file.getvalue()
