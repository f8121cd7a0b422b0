"""Small real media, made once."""

from __future__ import annotations

import io
import math
import struct
import wave
from fractions import Fraction
from functools import cache

import av
import numpy as np
from PIL import Image

from anygpt.client import Media, audio, image, speech, video

HANG_WIDTH = 13
"""An image that wide makes the plain encoder hang."""
REFUSE_WIDTH = 17


@cache
def picture(width: int = 64) -> bytes:
    """A PNG of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (width, 48), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


@cache
def sound(seconds: float = 0.5, hertz: int = 440) -> bytes:
    """A WAV of one tone, 16 kHz mono."""
    samples = [int(9000 * math.sin(2 * math.pi * hertz * i / 16000)) for i in range(int(16000 * seconds))]
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return out.getvalue()


@cache
def film(frames: int = 8) -> bytes:
    """An MP4 of frames that grow brighter, at 8 a second."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("h264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for i in range(frames):
            pixels = np.full((64, 64, 3), i * 160 // frames, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def sample(modality: str) -> str | Media:
    """A piece of that modality."""
    if modality == "text":
        return "recall this"
    made = {
        "image": image(picture()),
        "video": video(film()),
        "speech": speech(sound()),
        "audio": audio(sound(1.0)),
    }
    return made[modality]
