"""An answer, grown from its events."""

from __future__ import annotations

from dataclasses import dataclass, field

from anygpt import topology
from anygpt.errors import DeadlineExpired, RequestCancelled, from_failure
from anygpt.v1 import anygpt_service_pb2, types_pb2

Event = anygpt_service_pb2.Event
TERMINALS = frozenset({"finished", "failed", "cancelled", "expired"})
"""The kinds of event that end a request."""


@dataclass(slots=True)
class AnswerSpan:
    """One span of an answer: text, or media by reference."""

    modality: str
    text: str = ""
    media: types_pb2.MediaRef | None = None
    steps: list[types_pb2.StepReport] = field(default_factory=list)
    failure: types_pb2.Failure | None = None
    is_truncated: bool = False


@dataclass(slots=True)
class Answer:
    """A whole answer, in the order in which the model said it."""

    request_id: str = ""
    conversation_id: str = ""
    seed: int = 0
    spans: dict[int, AnswerSpan] = field(default_factory=dict)
    usage: types_pb2.Usage | None = None
    is_truncated: bool = False

    @property
    def text(self) -> str:
        """All text spans."""
        return "".join(span.text for _, span in sorted(self.spans.items()))

    def media(self, modality: str) -> list[types_pb2.MediaRef]:
        """The media of one modality."""
        spans = [span for _, span in sorted(self.spans.items())]
        return [span.media for span in spans if span.modality == modality and span.media is not None]

    def add(self, event: Event) -> None:
        """Take in one event. Raises the error of a request that failed, was cancelled or expired."""
        kind = event.WhichOneof("kind")
        if kind == "started":
            self.request_id, self.seed = event.request_id, event.started.seed
            self.conversation_id = event.started.conversation_id
        elif kind == "span_started":
            name = topology.MODALITY_NAMES[event.span_started.modality]
            self.spans[event.span_index] = AnswerSpan(name)
        elif kind == "failed":
            raise from_failure(event.failed.failure)
        elif kind == "cancelled":
            raise RequestCancelled("the request was cancelled", reason="CANCELLED")
        elif kind == "expired":
            raise DeadlineExpired("the request's deadline has passed", reason="EXPIRED")
        elif kind == "finished":
            self.usage = event.finished.usage
            self.is_truncated = event.finished.reason == anygpt_service_pb2.FINISH_REASON_TRUNCATED
        elif event.span_index in self.spans:
            self._add_to_span(self.spans[event.span_index], kind, event)

    def _add_to_span(self, span: AnswerSpan, kind: str | None, event: Event) -> None:
        if kind == "text_delta":
            span.text += event.text_delta.text
        elif kind == "media_ready":
            span.media, span.steps = event.media_ready.media, list(event.media_ready.steps)
        elif kind == "span_finished":
            span.is_truncated = event.span_finished.truncated
        elif kind == "span_failed":
            span.failure = event.span_failed.failure
        elif kind == "restarted":
            span.text, span.media = "", None
