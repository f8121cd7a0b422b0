"""Media files made in memory, as cameras, phones and editors write them."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def halves(
    left: tuple[int, int, int] = RED, right: tuple[int, int, int] = BLUE, side: int = 64
) -> Image.Image:
    """A picture `2 side` wide and `side` high: one colour on the left, another on the right."""
    image = Image.new("RGB", (2 * side, side), left)
    image.paste(right, (side, 0, 2 * side, side))
    return image


def tone(seconds: float, sample_rate: int = 16_000, hertz: float = 440.0) -> NDArray[np.float32]:
    """A sine at half of full scale."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def wav(samples: NDArray[np.float32], sample_rate: int = 16_000) -> bytes:
    """16-bit PCM of samples [S], or [channels, S]."""
    file, channels = io.BytesIO(), np.atleast_2d(samples)
    with wave.open(file, "wb") as writer:
        writer.setnchannels(len(channels))
        writer.setsampwidth(2)
        writer.setframerate(sample_rate)
        writer.writeframes((channels.T * 32767).astype("<i2").tobytes())
    return file.getvalue()


def sound(samples: NDArray[np.float32], sample_rate: int, form: str, codec: str) -> bytes:
    """Samples [channels, S] in any container and codec that FFmpeg writes."""
    file = io.BytesIO()
    layout = "stereo" if samples.shape[0] == 2 else "mono"
    with av.open(file, "w", format=form) as container:
        stream = container.add_stream(codec, rate=sample_rate, layout=layout)
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
        frame.sample_rate = sample_rate
        resampler = av.AudioResampler(
            stream.format.name, layout, sample_rate, stream.codec_context.frame_size
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


@dataclass(frozen=True)
class Film:
    """How a test video is written."""

    form: str = "mp4"
    codec: str = "libx264"
    rate: int = 10
    rotation: int = 0
    options: Mapping[str, str] | None = None
    times: tuple[float, ...] = ()
    """Seconds at which the frames begin; empty: evenly."""


def video(frames: list[NDArray[np.uint8]], film: Film | None = None) -> bytes:
    """Frames [H, W, 3] as a video file."""
    film = film or Film()
    file = io.BytesIO()
    with av.open(file, "w", format=film.form, options=dict(film.options or {})) as container:
        rate = 1000 if film.times else film.rate
        stream = container.add_stream(film.codec, rate=rate, options={"g": "5"})
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p" if stream.width % 2 == 0 == stream.height % 2 else "yuv444p"
        if film.rotation:
            stream.set_display_rotation(film.rotation)
        for place, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts = round(rate * film.times[place]) if film.times else place
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def for_the_web(data: bytes, path: Path) -> bytes:
    """An MP4 with its index moved to the front."""
    with (
        av.open(io.BytesIO(data)) as source,
        av.open(str(path), "w", options={"movflags": "faststart"}) as copy,
    ):
        assert isinstance(source, InputContainer)
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return path.read_bytes()


def plain_frames(count: int, width: int = 96, height: int = 64) -> list[NDArray[np.uint8]]:
    """Frames that grow brighter from black to white."""
    greys = np.linspace(0, 255, count).astype(np.uint8)
    return [np.full((height, width, 3), grey, dtype=np.uint8) for grey in greys]


def png_bomb(side: int = 60_000) -> bytes:
    """A PNG of a few hundred bytes whose header asks for `side` x `side` pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(_chunk(name, data) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
