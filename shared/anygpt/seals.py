"""Seals: who wrote a record of the journal, and whether that writer may say such a thing.

Kafka lets an account write to a topic, whatever the record claims. The gateway holds the master key, every other
writer a key made of it for its name alone; so nobody can speak in another's name.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from anygpt import topology
from anygpt.errors import InvalidInput
from anygpt.topology import Kind
from anygpt.v1 import bus_pb2

EVERY_STAGE = frozenset({"failure", "claimed", "released"})
KINDS: Mapping[Kind, frozenset[str]] = {
    Kind.ENCODER: EVERY_STAGE | {"encoded"},
    Kind.GENERATOR: EVERY_STAGE | {"generated"},
    Kind.DECODER: EVERY_STAGE | {"decoded", "span_finished"},
}
"""The bodies of a Reply that each kind of stage may write; the gateway may write all."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a record says of itself: its writer, the request it is about, and its kind."""

    writer: str
    key: str
    kind: str

    @property
    def is_allowed(self) -> bool:
        """Whether that writer may write that kind."""
        entry = topology.STAGES.get(self.writer)
        return self.writer == topology.GATEWAY or (entry is not None and self.kind in KINDS[entry.kind])


def state(value: bytes, key: str) -> Statement | None:
    """Read a record of the journal; None for what is none, or is about another request than its key."""
    reply = bus_pb2.Reply()
    try:
        reply.ParseFromString(value)
    except DecodeError:
        return None
    return Statement(reply.stage, key, reply.WhichOneof("body") or "") if reply.request_id == key else None


class Seals:
    """Makes and checks seals, by the master key or by the key of one writer."""

    def __init__(self, key: str) -> None:
        self._writer, is_derived, secret = key.rpartition(":")
        if is_derived and self._writer not in topology.STAGES:
            raise InvalidInput("a seal key is that of a stage, or the gateway's", field="seal_key")
        self._secret = secret

    @property
    def master(self) -> str:
        """The master key; empty where only a writer's key is."""
        return "" if self._writer else self._secret

    def key_of(self, writer: str) -> str | None:
        """The key of a writer, for its own settings; None when it cannot be made of this one."""
        if self._writer:
            return f"{writer}:{self._secret}" if writer == self._writer else None
        return f"{writer}:{hmac.new(self._secret.encode(), writer.encode(), hashlib.sha256).hexdigest()}"

    def sign(self, writer: str, key: str, value: bytes) -> str:
        """The seal of a record. Raises InvalidInput for a writer whose key is not here."""
        writers_key = self.key_of(writer)
        if writers_key is None:
            raise InvalidInput(f"this process has no key to write as {writer}", field="seal_key")
        return hmac.new(writers_key.encode(), key.encode() + b"\0" + value, hashlib.sha256).hexdigest()

    def is_good(self, value: bytes, key: str, seal: str) -> bool:
        """Whether a record is what its writer wrote. A writer knows its own; the master key knows all."""
        statement = state(value, key)
        if statement is None or not statement.is_allowed:
            return False
        if self.key_of(statement.writer) is None:
            return True
        return hmac.compare_digest(self.sign(statement.writer, key, value).encode(), seal.encode())
