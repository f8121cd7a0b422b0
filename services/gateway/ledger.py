"""The ledger: what is in flight in the whole installation, read from the journal, so that every gateway's is the same.

A gateway that starts knows only of requests accepted since; until the older ones end, the stages' heartbeats tell.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from anygpt import topology
from anygpt.recent import Recent
from anygpt.stage import now_ms
from anygpt.v1 import bus_pb2, types_pb2

REQUESTS = "requests"
TOKENS = "tokens"
GRACE_MS = 30_000
"""A request whose terminal event was not seen so long after its deadline is forgotten."""
ENDINGS = 32
FEWEST_ENDINGS = 8
"""So many people's answers of one busy time tell how fast the installation is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one request holds while it is in flight."""

    tenant: str
    is_batch: bool
    conversation_id: str
    tokens: int
    stages: frozenset[str]
    """Every stage whose work it may need."""
    deadline_ms: int
    opened: frozenset[str] = field(default=frozenset())
    """The decoders of spans that were opened."""
    media: frozenset[str] = frozenset()
    """The objects that it is about."""

    @property
    def party(self) -> tuple[str, bool]:
        """Who shares: a tenant's interactive work and its batch work are two."""
        return self.tenant, self.is_batch

    def amounts(self) -> Iterable[tuple[str, int]]:
        """How much of each resource it holds."""
        return ((REQUESTS, 1), (TOKENS, self.tokens), *((stage, 1) for stage in self.stages))


def entry_of(accepted: bus_pb2.Accepted, outputs: Iterable[topology.Modality]) -> Entry:
    """The entry of an accepted request; `outputs` is what the pack can make."""
    request = accepted.request
    may = request.want or [modality for modality in outputs if modality not in accepted.closed]
    stages = {topology.GENERATOR.name}
    stages |= {topology.DECODERS[modality].name for modality in may if modality in topology.DECODERS}
    stages |= {topology.ENCODERS[p.modality].name for p in request.parts if p.modality in topology.ENCODERS}
    return Entry(
        tenant=accepted.tenant,
        is_batch=request.priority == types_pb2.PRIORITY_BATCH,
        conversation_id=request.conversation_id,
        tokens=accepted.tokens,
        stages=frozenset(stages),
        deadline_ms=accepted.deadline.ToMilliseconds(),
        media=frozenset(part.media.object for part in request.parts if part.HasField("media")),
    )


class Ledger:
    """Requests in flight, summed by resource and by party. Knows nothing of buses and limits."""

    def __init__(self, outputs: Iterable[topology.Modality]) -> None:
        self._outputs = tuple(outputs)
        self._entries: dict[str, Entry] = {}
        self._turns: dict[str, tuple[str, str]] = {}
        """Tenant and conversation of the requests that the journal has."""
        self._ended: Recent[str, None] = Recent()
        self._used: Counter[str] = Counter()
        self._used_by: Counter[tuple[tuple[str, bool], str]] = Counter()
        self._people = 0
        self._arriving: set[str] = set()
        """People's requests that this gateway is still taking in."""
        self._endings: deque[int] = deque(maxlen=ENDINGS)
        """When people's latest requests ended, since there was last nobody."""

    def see(self, reply: bus_pb2.Reply) -> None:
        """Take a record of the journal into account."""
        body = reply.WhichOneof("body")
        if body == "accepted" and reply.request_id not in self._ended:
            self.enter(reply.request_id, entry_of(reply.accepted, self._outputs))
            self._turns[reply.request_id] = (reply.accepted.tenant, reply.accepted.request.conversation_id)
        elif body == "terminal":
            self._ended[reply.request_id] = None
            self._note_ending(reply)
            self.leave(reply.request_id)
        elif body == "generated":
            self._narrow(reply)

    def arrive(self, request_id: str) -> None:
        """Count a person's request that may be entered, or else leaves."""
        self._arriving.add(request_id)

    def enter(self, request_id: str, entry: Entry) -> None:
        """Count a request, once."""
        self._arriving.discard(request_id)
        if request_id not in self._entries:
            self._entries[request_id] = entry
            self._people += not entry.is_batch
            self._add(entry, 1)

    def leave(self, request_id: str) -> None:
        """Count a request no longer."""
        self._arriving.discard(request_id)
        self._turns.pop(request_id, None)
        entry = self._entries.pop(request_id, None)
        if entry is not None:
            self._people -= not entry.is_batch
            self._add(entry, -1)
        if not self._people:
            self._endings.clear()

    def forget_overdue(self) -> None:
        """Drop requests whose end was not seen."""
        latest = now_ms() - GRACE_MS
        for request_id in [name for name, entry in self._entries.items() if entry.deadline_ms < latest]:
            self.leave(request_id)

    def used(self, resource: str) -> int:
        """How much of a resource is in flight."""
        return self._used[resource]

    def used_by(self, party: tuple[str, bool], resource: str) -> int:
        """How much of it one party has."""
        return self._used_by[party, resource]

    def requests_of(self, tenant: str) -> list[str]:
        """The ids of a tenant's requests in flight."""
        return [request_id for request_id, entry in self._entries.items() if entry.tenant == tenant]

    def media_of(self, tenant: str) -> frozenset[str]:
        """The objects that a tenant's requests in flight are about."""
        entries = [entry.media for entry in self._entries.values() if entry.tenant == tenant]
        return frozenset().union(*entries)

    def has_ended(self, request_id: str) -> bool:
        """Whether a request's end was seen of late."""
        return request_id in self._ended

    def has_turn(self, tenant: str, conversation_id: str) -> bool:
        """Whether the journal has a request in flight in a conversation."""
        return (tenant, conversation_id) in self._turns.values()

    def interval_ms(self) -> float:
        """Mean time between the latest endings; 0 while too few were seen."""
        if len(self._endings) < 2:
            return 0.0
        return (self._endings[-1] - self._endings[0]) / (len(self._endings) - 1)

    def expected_ms(self) -> float:
        """How long one more answer for a person may take (Little's law); 0 while too few were seen."""
        if len(self._endings) < FEWEST_ENDINGS:
            return 0.0
        before = self._people + len(self._arriving)
        return (before + 1) * (now_ms() - self._endings[0]) / len(self._endings)

    def _note_ending(self, reply: bus_pb2.Reply) -> None:
        entry = self._entries.get(reply.request_id)
        if entry is not None and not entry.is_batch and reply.terminal.HasField("finished"):
            self._endings.append(now_ms())

    def _narrow(self, reply: bus_pb2.Reply) -> None:
        """Once the generator has finished, only the decoders of opened spans are still needed."""
        entry = self._entries.get(reply.request_id)
        kind = reply.generated.WhichOneof("output")
        if entry is None or kind not in ("span_opened", "finished"):
            return
        decoder = topology.DECODERS.get(reply.generated.span_opened.modality)
        if kind == "span_opened" and decoder:
            self._entries[reply.request_id] = replace(entry, opened=entry.opened | {decoder.name})
        elif kind == "finished":
            self._add(entry, -1)
            self._entries[reply.request_id] = left = replace(entry, stages=entry.opened)
            self._add(left, 1)

    def _add(self, entry: Entry, sign: int) -> None:
        for resource, amount in entry.amounts():
            self._used[resource] += sign * amount
            self._used_by[entry.party, resource] += sign * amount
            if not self._used_by[entry.party, resource]:
                del self._used_by[entry.party, resource]
