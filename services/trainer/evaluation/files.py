"""Media as files and back, for the evaluation: what a client sends and what it gets."""

from __future__ import annotations

import io

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anygpt_models.image_pipeline import to_uint8
from anygpt_models.output import Clip, Picture, Sound, encode

SAMPLE_RATE = 16_000
Samples = NDArray[np.float32]
UNDECODABLE = (OSError, LookupError, ValueError, av.FFmpegError)
"""What reading damaged media raises."""


def picture_file(pixels: Tensor) -> bytes:
    """Pixels [3, H, W] in -1..1 -> PNG."""
    return encode(Picture(to_uint8(pixels)), "png")[0]


def clip_file(frames: Tensor, frame_rate: float) -> bytes:
    """Frames [T, 3, H, W] in -1..1 -> MP4."""
    return encode(Clip(to_uint8(frames), frame_rate), "mp4")[0]


def sound_file(samples: Samples) -> bytes:
    """Samples [S] at 16 kHz -> WAV."""
    return encode(Sound(samples, SAMPLE_RATE), "wav")[0]


def read_picture(data: bytes) -> Tensor:
    """A picture -> pixels [3, H, W] in -1..1."""
    with Image.open(io.BytesIO(data)) as picture:
        array = np.asarray(picture.convert("RGB"))
    return torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 127.5 - 1


def read_clip(data: bytes) -> Tensor:
    """A video -> frames [T, 3, H, W] in -1..1."""
    with av.open(io.BytesIO(data), "r") as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1


def read_sound(data: bytes) -> Samples:
    """A sound -> samples [S] at 16 kHz."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
    with av.open(io.BytesIO(data), "r") as container:
        frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    samples: Samples = np.concatenate([frame.to_ndarray().reshape(-1) for frame in frames]).astype(np.float32)
    return samples
