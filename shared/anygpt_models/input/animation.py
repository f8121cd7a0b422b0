"""Animated pictures: their timing from the file's own blocks, without a look at a pixel."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from anygpt_models.input.source import Source

_CHUNK: Final = struct.Struct("<4sI")
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LEAST_S: Final = 0.01
_GIF_LEAST, _GIF_DEFAULT = 2, 10
"""Hundredths of a second; browsers show a frame of less for the default."""


@dataclass(frozen=True, slots=True)
class Animation:
    """The frames of a file that moves."""

    durations: tuple[float, ...]
    """Seconds of each frame."""
    first: int = 0
    """Pictures in the file that stand before the frames and are none of them."""
    is_cut: bool = False
    """Whether the file ends within a block."""


class _Cut(Exception):
    """The bytes end too early."""


def animation_of(source: Source) -> Animation | None:
    """The frames of a GIF, PNG or WebP that has at least two; None for any other file."""
    with source.opened() as file:
        head = file.read(12)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            blocks = _webp(file.read())
        elif head[:6] in (b"GIF87a", b"GIF89a"):
            blocks = _gif(head + file.read())
        elif head[:8] == _PNG:
            blocks = _png(head + file.read())
        else:
            return None
    durations: list[float] = []
    first, is_cut = 0, False
    try:
        for seconds in blocks:
            if seconds is None:
                first = 1
            else:
                durations.append(seconds)
    except _Cut:
        is_cut = True
    return Animation(tuple(durations), first, is_cut) if len(durations) > 1 else None


def _webp(body: bytes) -> Iterator[float | None]:
    """An ANMF chunk: position and size in 12 bytes, then 24 bits of milliseconds (RFC 9649, 2.7.1.2)."""
    place = 0
    while place + _CHUNK.size <= len(body):
        name, size = _CHUNK.unpack_from(body, place)
        place += _CHUNK.size
        if name == b"ANMF" and place + 15 <= len(body):
            yield max(int.from_bytes(body[place + 12 : place + 15], "little") / 1000, _LEAST_S)
        place += size + size % 2


def _png(data: bytes) -> Iterator[float | None]:
    """An fcTL chunk: seconds as a fraction at its 20th byte; None where the picture before the first is no frame."""
    place, frames = len(_PNG), 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        place += 8
        if place + size > len(data):
            raise _Cut
        if name == b"fcTL" and size >= 24:
            frames += 1
            over, under = struct.unpack_from(">HH", data, place + 20)
            yield max(over / (under or 100), _LEAST_S)
        elif name == b"IDAT" and not frames:
            frames = 1
            yield None
        elif name == b"IEND":
            return
        place += size + 4
    raise _Cut


def _gif(data: bytes) -> Iterator[float | None]:
    """Each image, shown for the hundredths of a second of the control block before it (GIF89a, 23)."""
    place, delay = 13 + _table(_byte(data, 10)), _GIF_DEFAULT
    while place < len(data):
        kind = data[place]
        if kind == 0x3B:
            return
        if kind == 0x21:
            if _byte(data, place + 1) == 0xF9 and place + 6 < len(data):
                told = int.from_bytes(data[place + 4 : place + 6], "little")
                delay = told if told >= _GIF_LEAST else _GIF_DEFAULT
            place = _after(data, place + 2)
        elif kind == 0x2C:
            place = _after(data, place + 11 + _table(_byte(data, place + 9)))
            yield delay / 100
            delay = _GIF_DEFAULT
        else:
            return


def _table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after(data: bytes, place: int) -> int:
    """Where a row of sub-blocks has ended."""
    while size := _byte(data, place):
        place += size + 1
    return place + 1


def _byte(data: bytes, place: int) -> int:
    if place >= len(data):
        raise _Cut
    return data[place]
