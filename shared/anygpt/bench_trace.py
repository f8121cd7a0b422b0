"""What a client saw of one request of a load, and what it should not have seen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from itertools import pairwise

from anygpt.answer import TERMINALS, Event
from anygpt.errors import AnyGPTError, Exhausted, Unavailable
from anygpt.v1 import types_pb2

REFUSED = "refused"
"""The outcome of a request that was told no before it started."""
LOST = "lost"
"""The outcome of a request that started and had no terminal event when patience ended."""


@dataclass(slots=True)
class SpanTrace:
    """What stands of one span of an answer."""

    modality: int
    text: str = ""
    chunks: bytes = b""
    sha256: str = ""
    is_failed: bool = False


@dataclass(slots=True)
class Trace:
    """One request, seen by its client. Times are seconds since the run began."""

    number: int
    due_s: float
    """When it was to be sent: latency counts from here, so that a client that falls behind hides nothing."""
    request_id: str = ""
    last_seq: int = 0
    outcome: str = ""
    """Empty while it runs; then a kind of terminal event, REFUSED or LOST."""
    reason: str = ""
    ended_s: float = 0.0
    times_s: list[float] = field(default_factory=list)
    """Of each event."""
    gaps_s: list[float] = field(default_factory=list)
    """Between two pieces of one span: text deltas or chunks."""
    composed_s: float | None = None
    generated_s: float | None = None
    first_text_s: float | None = None
    first_playable_s: float | None = None
    """The first piece of sound that can be played."""
    spans: dict[int, SpanTrace] = field(default_factory=dict)
    media: list[types_pb2.MediaRef] = field(default_factory=list)
    restarts: int = 0
    breaches: list[str] = field(default_factory=list)
    """Which promises of the stream were broken."""
    _digest: bytes = b""
    _last_piece_s: dict[int, float] = field(default_factory=dict)

    @property
    def is_finished(self) -> bool:
        """Whether a whole answer came."""
        return self.outcome == "finished"

    @property
    def total_s(self) -> float:
        """From the intended send time to the end."""
        return self.ended_s - self.due_s

    @property
    def digest(self) -> str:
        """A name of the exact sequence of events."""
        return self._digest.hex()

    @property
    def answer(self) -> list[tuple[int, SpanTrace]]:
        """The spans in order."""
        return sorted(self.spans.items())

    def see(self, event: Event, at_s: float) -> None:
        """Take in one event, and check the promises that hold for every stream."""
        kind = event.WhichOneof("kind") or ""
        if event.seq != self.last_seq + 1:
            self.breaches.append("repeat" if event.seq <= self.last_seq else "gap")
        if self.outcome:
            self.breaches.append("event after the end")
        if self.request_id and event.request_id != self.request_id:
            self.breaches.append("event of another request")
        self.request_id, self.last_seq = event.request_id, event.seq
        self._digest = hashlib.sha256(self._digest + event.SerializeToString(deterministic=True)).digest()
        self.times_s.append(at_s)
        self._note(kind, event, at_s)

    def refuse(self, error: AnyGPTError, at_s: float) -> None:
        """Note an error in the place of an answer."""
        self.outcome, self.reason, self.ended_s = REFUSED, error.reason, at_s

    def doubt(self, error: AnyGPTError) -> None:
        """Note an error in the middle of a stream: of an accepted request, only what is worth a retry may be told."""
        if self.request_id and not isinstance(error, Unavailable | Exhausted):
            self.breaches.append(f"told {error.reason} before its end")

    def lose(self, at_s: float) -> None:
        """Note that patience ended before the answer did."""
        self.outcome = LOST if self.request_id else REFUSED
        self.reason, self.ended_s = "NO_END", at_s

    def silence_s(self, since_s: float) -> float:
        """The longest wait for a next event from `since_s` on, or from the intended send time if that is later."""
        start_s = max(since_s, self.due_s)
        moments = [start_s, *(at_s for at_s in (*self.times_s, self.ended_s) if at_s > start_s)]
        return max((after - before for before, after in pairwise(moments)), default=0.0)

    def phase(self, at_s: float) -> str:
        """Where the request was at that time: "", encoding, generating or decoding."""
        if not self.times_s or not self.times_s[0] <= at_s <= (self.ended_s or at_s):
            return ""
        if self.composed_s is None or at_s < self.composed_s:
            return "encoding"
        return "generating" if self.generated_s is None or at_s < self.generated_s else "decoding"

    def _note(self, kind: str, event: Event, at_s: float) -> None:
        if kind in TERMINALS:
            self.outcome, self.ended_s = kind, at_s
            self.reason = event.failed.failure.reason
        elif kind == "prompt_composed":
            self.composed_s = at_s
        elif kind == "usage":
            self.generated_s = at_s
        elif kind == "span_started":
            self.spans[event.span_index] = SpanTrace(event.span_started.modality)
        elif kind == "restarted":
            self.restarts += 1
        if event.span_index in self.spans:
            self._note_piece(self.spans[event.span_index], kind, event, at_s)

    def _note_piece(self, span: SpanTrace, kind: str, event: Event, at_s: float) -> None:
        if kind == "text_delta":
            span.text += event.text_delta.text
            self.first_text_s = at_s if self.first_text_s is None else self.first_text_s
        elif kind == "media_chunk":
            span.chunks += event.media_chunk.data
            if event.media_chunk.sample_rate and self.first_playable_s is None:
                self.first_playable_s = at_s
        elif kind == "media_ready":
            span.sha256 = event.media_ready.media.sha256
            self.media.append(event.media_ready.media)
        elif kind == "restarted":
            span.text, span.chunks, span.sha256 = "", b"", ""
        elif kind == "span_failed":
            span.is_failed = True
        if kind in ("text_delta", "media_chunk"):
            if event.span_index in self._last_piece_s:
                self.gaps_s.append(at_s - self._last_piece_s[event.span_index])
            self._last_piece_s[event.span_index] = at_s
