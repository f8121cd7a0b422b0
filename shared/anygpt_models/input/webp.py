"""Animated WebP, which FFmpeg does not play: its timing from the file's chunks, its frames through Pillow."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from anygpt_models.input.source import Source

_CHUNK = struct.Struct("<4sI")


def frame_durations(source: Source) -> list[float]:
    """Seconds of each frame, by the ANMF chunks; empty for a still picture and for any other format."""
    with source.opened() as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
            return []
        return list(_durations(file.read()))


def _durations(body: bytes) -> Iterator[float]:
    """An ANMF chunk: position and size in 12 bytes, then 24 bits of milliseconds (RFC 9649, 2.7.1.2)."""
    place = 0
    while place + _CHUNK.size <= len(body):
        name, size = _CHUNK.unpack_from(body, place)
        place += _CHUNK.size
        if name == b"ANMF" and place + 15 <= len(body):
            yield max(int.from_bytes(body[place + 12 : place + 15], "little"), 10) / 1000
        place += size + size % 2
