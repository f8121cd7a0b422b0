"""The map of the system: every topic with its message, its writers and its readers; every stage with its modality.

Nothing else spells a topic name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.message import Message

from anygpt.v1 import bus_pb2, stages_pb2, types_pb2

if TYPE_CHECKING:
    Modality: TypeAlias = types_pb2.Modality.ValueType
    Priority: TypeAlias = types_pb2.Priority.ValueType
else:
    Modality = Priority = int

PREFIX = "anygpt.v1"
BATCH_SUFFIX = ".batch"
SEGMENT_MS = 3600 * 1000
"""Records age out by segments of so long: one may outlive its topic's retention by this."""
REPLY_PARTITIONS = 64
"""Fixed for the life of the topic: a request id names its partition."""

TEXT = types_pb2.MODALITY_TEXT
IMAGE = types_pb2.MODALITY_IMAGE
VIDEO = types_pb2.MODALITY_VIDEO
SPEECH = types_pb2.MODALITY_SPEECH
AUDIO = types_pb2.MODALITY_AUDIO

MODALITY_NAMES: Mapping[Modality, str] = {
    TEXT: "text", IMAGE: "image", VIDEO: "video", SPEECH: "speech", AUDIO: "audio",
}  # fmt: skip
MODALITIES: Mapping[str, Modality] = {name: modality for modality, name in MODALITY_NAMES.items()}

STREAMED = frozenset({SPEECH, AUDIO})
"""Spans that go to their decoder in chunks while they grow; the others go as one message."""


class Kind(Enum):
    """What a stage does."""

    ENCODER = "encoder"
    GENERATOR = "generator"
    DECODER = "decoder"


@dataclass(frozen=True, slots=True)
class StageEntry:
    """One stage service: what it reads, and the modality it is for (None: all of them)."""

    name: str
    kind: Kind
    modality: Modality | None = None

    @property
    def topic(self) -> str:
        """The topic of its interactive work."""
        if self.modality is None:
            return f"{PREFIX}.generate"
        verb = "encode" if self.kind is Kind.ENCODER else "decode"
        return f"{PREFIX}.{verb}.{MODALITY_NAMES[self.modality]}"

    @property
    def batch_topic(self) -> str:
        """The twin of `topic` for batch work."""
        return self.topic + BATCH_SUFFIX

    @property
    def dead_topic(self) -> str:
        """Where its unhandled messages are kept."""
        return f"{PREFIX}.dead.{self.name}"


STAGES: Mapping[str, StageEntry] = {
    entry.name: entry
    for entry in (
        StageEntry("image_encoder", Kind.ENCODER, IMAGE),
        StageEntry("video_encoder", Kind.ENCODER, VIDEO),
        StageEntry("speech_encoder", Kind.ENCODER, SPEECH),
        StageEntry("audio_encoder", Kind.ENCODER, AUDIO),
        StageEntry("llm", Kind.GENERATOR),
        StageEntry("image_decoder", Kind.DECODER, IMAGE),
        StageEntry("video_decoder", Kind.DECODER, VIDEO),
        StageEntry("speech_decoder", Kind.DECODER, SPEECH),
        StageEntry("audio_decoder", Kind.DECODER, AUDIO),
    )
}

ENCODERS: Mapping[Modality, StageEntry] = {
    entry.modality: entry for entry in STAGES.values() if entry.kind is Kind.ENCODER and entry.modality
}
DECODERS: Mapping[Modality, StageEntry] = {
    entry.modality: entry for entry in STAGES.values() if entry.kind is Kind.DECODER and entry.modality
}
GENERATOR = STAGES["llm"]
GATEWAY = "gateway"
BATCH = "batch"
TRAINER = "trainer"
SERVICES = (GATEWAY, *STAGES, BATCH, TRAINER)

REPLIES = f"{PREFIX}.replies"
CONTROL = f"{PREFIX}.control"
"""What the gateway alone may order: cancels."""
HEARTBEATS = f"{PREFIX}.heartbeats"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic: what travels on it, who writes it, who reads it."""

    name: str
    message: type[Message]
    writers: tuple[str, ...]
    readers: tuple[str, ...]
    partitions: int = 16
    retention_ms: int = 6 * 3600 * 1000
    is_compacted: bool = False
    """An empty record removes all earlier ones of its key."""


_REQUESTS: Mapping[Kind, type[Message]] = {
    Kind.ENCODER: stages_pb2.EncodeRequest,
    Kind.GENERATOR: stages_pb2.GenerateTokensRequest,
    Kind.DECODER: stages_pb2.DecodeRequest,
}


def _stage_topics(entry: StageEntry) -> list[Topic]:
    writer = GENERATOR.name if entry.kind is Kind.DECODER else GATEWAY
    message = _REQUESTS[entry.kind]
    return [
        Topic(entry.topic, message, (writer,), (entry.name,)),
        Topic(entry.batch_topic, message, (writer,), (entry.name,)),
        Topic(
            entry.dead_topic,
            bus_pb2.DeadLetter,
            (entry.name, GATEWAY),
            (GATEWAY,),
            1,
            14 * 24 * 3600 * 1000,
            True,
        ),
    ]


TOPICS: Mapping[str, Topic] = {
    topic.name: topic
    for topic in (
        *(topic for entry in STAGES.values() for topic in _stage_topics(entry)),
        Topic(REPLIES, bus_pb2.Reply, (GATEWAY, *STAGES), (GATEWAY, *STAGES), REPLY_PARTITIONS),
        Topic(CONTROL, bus_pb2.Control, (GATEWAY,), tuple(STAGES), 1),
        Topic(HEARTBEATS, bus_pb2.Control, tuple(STAGES), (GATEWAY,), 1, 3600 * 1000),
    )
}
