"""What a client's message is made of, and how its answer should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from anygpt import topology
from anygpt.errors import InvalidInput
from anygpt.v1 import types_pb2


@dataclass(frozen=True, slots=True)
class Media:
    """Media to send: a file, or bytes; `modality` tells speech from audio, and may be None for images and videos."""

    source: Path | bytes
    modality: str | None = None


def image(source: Path | str | bytes) -> Media:
    """An image to send."""
    return _made(source, "image")


def video(source: Path | str | bytes) -> Media:
    """A video to send."""
    return _made(source, "video")


def speech(source: Path | str | bytes) -> Media:
    """Spoken words to send."""
    return _made(source, "speech")


def audio(source: Path | str | bytes) -> Media:
    """Music or sound to send."""
    return _made(source, "audio")


@dataclass(frozen=True, slots=True)
class Link:
    """Media that the gateway is to fetch by itself; `modality` as for Media."""

    url: str
    modality: str | None = None


Piece: TypeAlias = str | Media | Link | types_pb2.MediaRef
"""What a message is made of: text, media to send, media to fetch, or media that the server has."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an answer should be made; see GenerateRequest."""

    want: Sequence[str] = ()
    conversation_id: str = ""
    system: str = ""
    seed: int | None = None
    voice: str = ""
    sampling: Sequence[types_pb2.ModalitySampling] = ()
    output: Sequence[types_pb2.OutputOptions] = ()
    idempotency_key: str = ""
    is_batch: bool = False
    timeout_s: float | None = None


def _made(source: Path | str | bytes, modality: str) -> Media:
    return Media(source if isinstance(source, bytes) else Path(source), modality)


def modality_of(name: str | None, field: str) -> topology.Modality:
    """The modality of that name, or none. Raises InvalidInput for a name that is none."""
    if not name:
        return types_pb2.MODALITY_UNSPECIFIED
    modality = topology.MODALITIES.get(name)
    if modality is None:
        known = ", ".join(topology.MODALITIES)
        raise InvalidInput(f"the modalities are {known}", reason="MODALITY_UNKNOWN", field=field)
    return modality
