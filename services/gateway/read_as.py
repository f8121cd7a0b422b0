"""Media by what they are read as: one file can be looked at and listened to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO, Modality
from anygpt.v1 import types_pb2

MediaKey = tuple[str, int]
"""An object, and the modality as which it is read."""
_KINDS: Mapping[str, Sequence[Modality]] = {
    "audio": (SPEECH, AUDIO), "video": (VIDEO, SPEECH, AUDIO), "image/gif": (IMAGE, VIDEO),
    "image/webp": (IMAGE, VIDEO), "image/png": (IMAGE, VIDEO),
}  # fmt: skip


def as_read(part: types_pb2.Part) -> MediaKey:
    """What tells the encodings of media apart."""
    return part.media.object, part.modality


def different_media(parts: Iterable[types_pb2.Part]) -> list[types_pb2.Part]:
    """The media among parts, each once for each modality that it is read as."""
    return list({as_read(part): part for part in parts if part.HasField("media")}.values())


def may_be(reference: types_pb2.MediaRef) -> Sequence[int]:
    """Modalities that media may be read as beside the one they were kept as; an encoder looks closer."""
    kind = reference.media_type
    return (reference.modality, *_KINDS.get(kind, ()), *_KINDS.get(kind.partition("/")[0], ()))
