"""WAV files by their own chunks, for FFmpeg believes the file's length rather than its header."""

from __future__ import annotations

import struct
from typing import Final

from anygpt_models.input.source import Source

_CHUNK: Final = struct.Struct("<4sI")
_HEAD: Final = 65_536
_UNKNOWN: Final = 0x7FFF0000
"""Sizes from here on, and 0, are written by programs that do not know the length yet."""


def is_cut(source: Source) -> bool:
    """Whether the header of a WAV file promises more samples than there are bytes; False for other formats."""
    head = source.head(_HEAD)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return False
    place = 12
    while place + _CHUNK.size <= len(head):
        name, size = _CHUNK.unpack_from(head, place)
        place += _CHUNK.size
        if name == b"data":
            return bool(size < _UNKNOWN and place + size > source.size_bytes + 1)
        place += size + size % 2
    return False
