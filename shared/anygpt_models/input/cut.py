"""Whether a file ends before it says: by the lengths in its own headers, for decoders play what there is."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO, Final

from anygpt_models.input.source import Source

_CHUNK: Final = struct.Struct("<4sI")
_BOX: Final = struct.Struct(">I4s")
_SEGMENT: Final = b"\x18\x53\x80\x67"
_UNKNOWN: Final = 0x7FFF0000
"""Sizes of RIFF chunks from here on, and 0, are written by programs that do not know the length yet."""
_PAGE: Final = 65_307
"""Longest page of an Ogg file."""
_BOXES: Final = 4096
"""Most boxes or chunks that are walked."""


def is_cut(source: Source) -> bool:
    """Whether bytes are missing at the end; False where the format does not tell."""
    with source.opened() as file:
        head = file.read(12)
        promised = _promise(head)
        return promised is not None and promised(file, source.size_bytes) > source.size_bytes


def _promise(head: bytes) -> Callable[[BinaryIO, int], int] | None:
    """What reads the length that a file of this format promises."""
    if head[:4] == b"RIFF":
        return _wave_end if head[8:12] == b"WAVE" else _riff_end
    if head[4:8] in (b"ftyp", b"jP  "):
        return _boxes_end
    return {b"OggS": _pages_end, b"\x1a\x45\xdf\xa3": _matroska_end}.get(head[:4])


def _riff_end(file: BinaryIO, size_bytes: int) -> int:
    file.seek(4)
    size = int.from_bytes(file.read(4), "little")
    return 8 + size - 1 if size < _UNKNOWN else 0


def _wave_end(file: BinaryIO, size_bytes: int) -> int:
    """The end of the samples."""
    file.seek(12)
    for _ in range(_BOXES):
        header = file.read(_CHUNK.size)
        if len(header) < _CHUNK.size:
            break
        name, size = _CHUNK.unpack(header)
        if name == b"data":
            return file.tell() + size - 1 if size < _UNKNOWN else 0
        file.seek(size + size % 2, 1)
    return 0


def _boxes_end(file: BinaryIO, size_bytes: int) -> int:
    """The end of the last box that has begun (ISO/IEC 14496-12)."""
    place = 0
    for _ in range(_BOXES):
        file.seek(place)
        header = file.read(16)
        if len(header) < _BOX.size:
            break
        size, _name = _BOX.unpack_from(header)
        if size == 1 and len(header) == 16:
            size = int.from_bytes(header[8:], "big")
        if size < _BOX.size:
            break
        place += size
    return place


def _pages_end(file: BinaryIO, size_bytes: int) -> int:
    """The end of the last page that has begun (RFC 3533)."""
    start = max(0, size_bytes - _PAGE)
    file.seek(start)
    tail = file.read(_PAGE)
    place = tail.rfind(b"OggS\0")
    if place < 0:
        return 0
    lengths = tail[place + 27 : place + 27 + tail[place + 26]] if place + 26 < len(tail) else b""
    whole = place + 26 < len(tail) and len(lengths) == tail[place + 26]
    return start + place + 27 + len(lengths) + sum(lengths) if whole else size_bytes + 1


def _matroska_end(file: BinaryIO, size_bytes: int) -> int:
    """The end of the segment (RFC 8794), which may be unknown."""
    file.seek(4)
    header = _number(file)
    file.seek(header or 0, 1)
    if header is None or file.read(4) != _SEGMENT:
        return 0
    length = _number(file)
    return 0 if length is None else file.tell() + length


def _number(file: BinaryIO) -> int | None:
    """A number of one to eight bytes; None for the one that says nothing."""
    first = file.read(1)
    if not first or not first[0]:
        return None
    width = 9 - first[0].bit_length()
    bits = 7 * width
    value = int.from_bytes(first + file.read(width - 1), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
