"""The journal's fold: what a client sees of a request is a pure function of its records, in partition order."""

from __future__ import annotations

from dataclasses import dataclass, field

from anygpt import topology
from anygpt.answer import Event
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2


@dataclass(slots=True)
class Span:
    """One span of the answer."""

    modality: topology.Modality
    text: list[str] = field(default_factory=list)
    media: types_pb2.MediaRef | None = None
    is_truncated: bool = False
    is_generated: bool = False
    is_done: bool = False
    is_failed: bool = False
    decoder_attempt: str = ""
    decoder_attempts: int = 0


class Fold:
    """The state of one request, grown record by record. Knows nothing of buses, clients and time."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.accepted: bus_pb2.Accepted | None = None
        self.encoded: dict[int, bus_pb2.Encoded] = {}
        self.is_composed = False
        self.spans: dict[int, Span] = {}
        self.generation: stages_pb2.GenerationFinished | None = None
        self.failure: types_pb2.Failure | None = None
        self.cancel: types_pb2.CancelOrder | None = None
        self.is_ended = False
        self.usage = types_pb2.Usage()
        self._seq = 0
        self._next: dict[tuple[str, int, str], int] = {}
        self._generator_attempt = ""
        self._generator_attempts = 0

    @property
    def is_answered(self) -> bool:
        """Whether the generator has finished and every span is done."""
        return self.generation is not None and all(span.is_done for span in self.spans.values())

    def feed(self, reply: bus_pb2.Reply) -> list[Event]:
        """The events that one record adds; none after the terminal one, none for a repeat."""
        body = reply.WhichOneof("body")
        if self.is_ended or body is None or self._is_repeat(reply):
            return []
        events: list[Event] = list(getattr(self, f"_on_{body}")(reply))
        for event in events:
            self._seq += 1
            event.request_id = self.request_id
            event.seq = self._seq
        return events

    def _is_repeat(self, reply: bus_pb2.Reply) -> bool:
        if reply.stage == topology.GATEWAY:
            return False
        place = (reply.stage, reply.span_index, reply.attempt)
        if reply.seq < self._next.get(place, 0):
            return True
        self._next[place] = reply.seq + 1
        return False

    def _on_accepted(self, reply: bus_pb2.Reply) -> list[Event]:
        if self.accepted is not None:
            return []
        self.accepted = reply.accepted
        started = anygpt_service_pb2.Started(
            conversation_id=reply.accepted.request.conversation_id,
            seed=reply.accepted.seed,
            deadline=reply.accepted.deadline,
            limits=reply.accepted.limits,
            closed=reply.accepted.closed,
        )
        return [Event(started=started)]

    def _on_encoded(self, reply: bus_pb2.Reply) -> list[Event]:
        if reply.span_index not in self.encoded:
            self.encoded[reply.span_index] = reply.encoded
            self.usage.encode_ms += reply.encoded.encode_ms
        return []

    def _on_composed(self, reply: bus_pb2.Reply) -> list[Event]:
        if self.is_composed:
            return []
        self.is_composed = True
        return [Event(prompt_composed=reply.composed)]

    def _on_generated(self, reply: bus_pb2.Reply) -> list[Event]:
        events = self._adopt_generator(reply)
        if reply.attempt != self._generator_attempt:
            return []
        response, index = reply.generated, reply.span_index
        kind = response.WhichOneof("output")
        if kind == "span_opened":
            events += self._open(index, response.span_opened.modality)
        elif kind == "text":
            events += self._open(index, topology.TEXT)
            self.spans[index].text.append(response.text.text)
            delta = anygpt_service_pb2.TextDelta(text=response.text.text)
            events.append(Event(span_index=index, text_delta=delta))
        elif kind == "span_closed":
            events += self._close(index, response.span_closed.truncated)
        elif kind == "finished":
            self.generation = response.finished
            self._count(response.finished.usage)
            events.append(Event(usage=anygpt_service_pb2.UsageReport(usage=self.usage)))
        return events

    def _adopt_generator(self, reply: bus_pb2.Reply) -> list[Event]:
        if reply.attempt == self._generator_attempt or reply.seq > 0 or self.generation is not None:
            return []
        self._generator_attempt = reply.attempt
        self._generator_attempts += 1
        shown = [
            index for index, span in self.spans.items() if not span.is_done or span.modality == topology.TEXT
        ]
        self.spans.clear()
        restarted = anygpt_service_pb2.Restarted(attempt=self._generator_attempts)
        return [Event(span_index=index, restarted=restarted) for index in shown]

    def _open(self, index: int, modality: topology.Modality) -> list[Event]:
        if index in self.spans:
            return []
        self.spans[index] = Span(modality)
        started = anygpt_service_pb2.SpanStarted(modality=modality)
        return [Event(span_index=index, span_started=started)]

    def _close(self, index: int, truncated: bool) -> list[Event]:
        span = self.spans.get(index)
        if span is None or span.is_done:
            return []
        span.is_truncated = truncated
        span.is_generated = True
        if span.modality != topology.TEXT:
            return []
        span.is_done = True
        return [Event(span_index=index, span_finished=anygpt_service_pb2.SpanFinished(truncated=truncated))]

    def _on_decoded(self, reply: bus_pb2.Reply) -> list[Event]:
        index, response = reply.span_index, reply.decoded
        events = self._adopt_decoder(reply)
        span = self.spans.get(index)
        if span is None or span.is_done or span.decoder_attempt != reply.attempt:
            return events
        kind = response.WhichOneof("output")
        if kind == "progress":
            events.append(Event(span_index=index, progress=response.progress))
        elif kind == "chunk":
            events.append(Event(span_index=index, media_chunk=response.chunk))
        elif kind == "media":
            span.media = response.media.ready.media
            self.usage.media_ms += response.media.decode_ms
            self.usage.media_bytes += span.media.size_bytes
            events.append(Event(span_index=index, media_ready=response.media.ready))
        return events

    def _adopt_decoder(self, reply: bus_pb2.Reply) -> list[Event]:
        index = reply.span_index
        modality = topology.STAGES[reply.stage].modality if reply.stage in topology.STAGES else None
        events = self._open(index, modality) if modality else []
        span = self.spans.get(index)
        if span is None or span.is_done or span.decoder_attempt == reply.attempt or reply.seq > 0:
            return events
        span.decoder_attempt = reply.attempt
        span.decoder_attempts += 1
        if span.decoder_attempts > 1:
            restarted = anygpt_service_pb2.Restarted(attempt=span.decoder_attempts)
            events.append(Event(span_index=index, restarted=restarted))
        return events

    def _on_span_finished(self, reply: bus_pb2.Reply) -> list[Event]:
        span = self.spans.get(reply.span_index)
        if span is None or span.is_done or span.decoder_attempt != reply.attempt:
            return []
        span.is_done = True
        done = anygpt_service_pb2.SpanFinished(truncated=span.is_truncated)
        return [Event(span_index=reply.span_index, span_finished=done)]

    def _on_failure(self, reply: bus_pb2.Reply) -> list[Event]:
        entry = topology.STAGES.get(reply.stage)
        if entry is None or entry.kind is not topology.Kind.DECODER:
            self.failure = self.failure or reply.failure
            return []
        events = self._open(reply.span_index, entry.modality or topology.TEXT)
        span = self.spans[reply.span_index]
        if span.is_done:
            return events
        span.is_done = span.is_failed = True
        failed = anygpt_service_pb2.SpanFailed(failure=reply.failure)
        return [*events, Event(span_index=reply.span_index, span_failed=failed)]

    def _on_cancel(self, reply: bus_pb2.Reply) -> list[Event]:
        self.cancel = self.cancel or reply.cancel
        return []

    def _on_terminal(self, reply: bus_pb2.Reply) -> list[Event]:
        self.is_ended = True
        outcome = reply.terminal.WhichOneof("outcome")
        return [Event(**{outcome: getattr(reply.terminal, outcome)})] if outcome else []

    def _count(self, usage: types_pb2.Usage) -> None:
        encode_ms, media_ms, media_bytes = self.usage.encode_ms, self.usage.media_ms, self.usage.media_bytes
        self.usage.CopyFrom(usage)
        self.usage.encode_ms, self.usage.media_ms, self.usage.media_bytes = encode_ms, media_ms, media_bytes
