"""The journal's fold: what a client sees of a request is a pure function of its records, in partition order."""

from __future__ import annotations

from collections.abc import Iterator

from anygpt import topology
from anygpt.answer import Event
from anygpt.attempts import epoch_of
from anygpt.errors import BLANK
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2
from services.gateway.phase import ENDS, NEXT, Phase
from services.gateway.read_as import different_media
from services.gateway.span import Span

Place = tuple[str, int]
"""A stage, and the span that it works on; gateway and generator have one place for all."""
WHOLE = frozenset({topology.GATEWAY, topology.GENERATOR.name})
UNORDERED = frozenset({"claimed", "released", "failure"})
"""Records that count at once, also when others of their attempt are missing."""
ANYBODY = frozenset({"accepted", "encoded", "cancel", "claimed", "released"})
"""Records that count whoever's attempt they are of."""


class Fold:
    """The state of one request, grown record by record. Knows nothing of buses, clients and time."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        self.phase = Phase.NEW
        self.accepted: bus_pb2.Accepted | None = None
        self.encoded: dict[int, bus_pb2.Encoded] = {}
        self.spans: dict[int, Span] = {}
        self.generation: stages_pb2.GenerationFinished | None = None
        self.failure: types_pb2.Failure | None = None
        self.unencoded: int | None = None
        """The place of the media that an encoder failed at."""
        self.cancel: types_pb2.CancelOrder | None = None
        self.usage = types_pb2.Usage()
        self._seq = 0
        self._next: dict[tuple[Place, str], int] = {}
        self._early: dict[tuple[Place, str, int], bus_pb2.Reply] = {}
        self._attempts: dict[Place, str] = {}
        self._counts: dict[Place, int] = {}
        self._tokens = 0
        self._is_composed = False

    @property
    def is_ended(self) -> bool:
        """Whether the terminal event is there: nothing after it counts."""
        return self.phase in ENDS

    @property
    def is_answered(self) -> bool:
        """Whether the generator has finished and every span is done."""
        return self.generation is not None and all(span.is_done for span in self.spans.values())

    @property
    def owner(self) -> str:
        """The attempt of the composer that has the request."""
        return self._attempts.get((topology.GATEWAY, 0), "")

    @property
    def has_generator(self) -> bool:
        """Whether the generator was heard of."""
        return (topology.GENERATOR.name, 0) in self._attempts

    def feed(self, reply: bus_pb2.Reply) -> list[Event]:
        """The events that one record adds; none after the terminal one, none for a repeat or a void attempt."""
        events: list[Event] = []
        for one in self._in_order(reply):
            body = one.WhichOneof("body")
            if not self.is_ended and body is not None and not self._is_void(one, body):
                events += getattr(self, f"_on_{body}")(one)
        for event in events:
            self._seq += 1
            event.request_id = self.request_id
            event.seq = self._seq
        return events

    def _in_order(self, reply: bus_pb2.Reply) -> Iterator[bus_pb2.Reply]:
        """The records that are next of their attempt; one that comes too early is kept until its turn."""
        if reply.stage == topology.GATEWAY:
            yield reply
            return
        place = ((reply.stage, reply.span_index), reply.attempt)
        due = self._next.setdefault(place, 0)
        is_unordered = reply.WhichOneof("body") in UNORDERED
        if is_unordered or reply.seq == due:
            yield reply
        elif reply.seq > due:
            self._early[(*place, reply.seq)] = reply
        if reply.seq != due:
            return
        self._next[place] = due + 1
        following = self._early.pop((*place, due + 1), None)
        if following is not None:
            yield from self._in_order(following)

    def _is_void(self, reply: bus_pb2.Reply, body: str) -> bool:
        if body in ANYBODY:
            return False
        return self._attempts.setdefault(_place(reply), reply.attempt) != reply.attempt

    def _move(self, phase: Phase) -> bool:
        if phase not in NEXT[self.phase]:
            return False
        self.phase = phase
        return True

    def _on_accepted(self, reply: bus_pb2.Reply) -> list[Event]:
        if not self._move(Phase.ACCEPTED):
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

    def _on_claimed(self, reply: bus_pb2.Reply) -> list[Event]:
        place, known = _place(reply), self._attempts.get(_place(reply), "")
        if reply.attempt == known or epoch_of(reply.attempt) < epoch_of(known):
            return []
        self._attempts[place] = reply.attempt
        self._counts[place] = self._counts.get(place, 0) + 1
        if reply.stage == topology.GATEWAY:
            self._move(Phase.ENCODING)
        elif reply.stage == topology.GENERATOR.name:
            self._move(Phase.GENERATING)
            self._tokens = 0
            for span in self.spans.values():
                span.told = 0
        else:
            return self._restart_decoder(reply.span_index, self._counts[place])
        return []

    def _restart_decoder(self, index: int, attempt: int) -> list[Event]:
        span = self.spans.get(index)
        if span is None or span.is_done or not span.is_shown:
            return []
        span.is_shown = False
        span.media = None
        return [_restarted(index, attempt)]

    def _on_released(self, reply: bus_pb2.Reply) -> list[Event]:
        return []

    def _on_encoded(self, reply: bus_pb2.Reply) -> list[Event]:
        if reply.span_index not in self.encoded:
            self.encoded[reply.span_index] = reply.encoded
            self.usage.encode_ms += reply.encoded.encode_ms
        return []

    def _on_composed(self, reply: bus_pb2.Reply) -> list[Event]:
        if self._is_composed:
            return []
        self._is_composed = True
        self._move(Phase.GENERATING)
        self.usage.prompt_tokens = reply.composed.prompt_tokens
        return [Event(prompt_composed=reply.composed)]

    def _on_generated(self, reply: bus_pb2.Reply) -> list[Event]:
        response, index = reply.generated, reply.span_index
        kind = response.WhichOneof("output")
        if self.generation is not None:
            return []
        if kind == "span_opened":
            return self._open(index, response.span_opened.modality, reply.attempt)
        if kind == "text":
            self._count_tokens(len(response.text.ids))
            events = self._open(index, topology.TEXT, reply.attempt)
            return events + self._say(index, *self.spans[index].hear(response.text.text))
        if kind == "span_closed":
            return self._close(index, response.span_closed)
        return self._on_generation_finished(reply) if kind == "finished" else []

    def _on_generation_finished(self, reply: bus_pb2.Reply) -> list[Event]:
        void = [index for index, span in self.spans.items() if span.attempt != reply.attempt]
        for index in void:
            del self.spans[index]
        self.generation = reply.generated.finished
        self._move(Phase.DECODING)
        self._count(self.generation.usage)
        report = anygpt_service_pb2.UsageReport(usage=self.usage)
        return [*(_restarted(index, self._generators) for index in void), Event(usage=report)]

    @property
    def _generators(self) -> int:
        return self._counts.get((topology.GENERATOR.name, 0), 1)

    def _open(self, index: int, modality: topology.Modality, attempt: str) -> list[Event]:
        span = self.spans.get(index)
        if span is not None and span.modality == modality:
            span.attempt = attempt or span.attempt
            return []
        self.spans[index] = Span(modality, attempt=attempt)
        started = anygpt_service_pb2.SpanStarted(modality=modality)
        events = [Event(span_index=index, span_started=started)]
        return [_restarted(index, self._generators), *events] if span is not None else events

    def _say(self, index: int, is_void: bool, text: str) -> list[Event]:
        events = []
        if is_void:
            self.spans[index].is_done = False
            events.append(_restarted(index, self._generators))
        if text:
            delta = anygpt_service_pb2.TextDelta(text=text)
            events.append(Event(span_index=index, text_delta=delta))
        return events

    def _close(self, index: int, closed: stages_pb2.SpanClosed) -> list[Event]:
        span = self.spans.get(index)
        if span is None:
            return []
        span.is_truncated = closed.truncated
        if span.modality != topology.TEXT:
            self._count_tokens(len(closed.ids))
            return []
        events = self._say(index, *span.end())
        if span.is_done:
            return events
        span.is_done = True
        done = anygpt_service_pb2.SpanFinished(truncated=closed.truncated)
        return [*events, Event(span_index=index, span_finished=done)]

    def _on_decoded(self, reply: bus_pb2.Reply) -> list[Event]:
        index, response = reply.span_index, reply.decoded
        events = self._open_decoded(reply)
        span = self.spans.get(index)
        if span is None or span.is_done:
            return events
        span.is_shown = True
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

    def _open_decoded(self, reply: bus_pb2.Reply) -> list[Event]:
        """Open the span of a decoder that was quicker than the generator's own mark."""
        entry = topology.STAGES.get(reply.stage)
        if self.generation is not None or entry is None or entry.modality is None:
            return []
        known = self.spans.get(reply.span_index)
        return [] if known is not None else self._open(reply.span_index, entry.modality, "")

    def _on_span_finished(self, reply: bus_pb2.Reply) -> list[Event]:
        span = self.spans.get(reply.span_index)
        if span is None or span.is_done:
            return []
        span.is_done = True
        done = anygpt_service_pb2.SpanFinished(truncated=span.is_truncated)
        return [Event(span_index=reply.span_index, span_finished=done)]

    def _on_failure(self, reply: bus_pb2.Reply) -> list[Event]:
        entry = topology.STAGES.get(reply.stage)
        if entry is not None and entry.kind is topology.Kind.ENCODER:
            return self._on_unencoded(reply)
        if entry is None or entry.kind is not topology.Kind.DECODER:
            self.failure = self.failure or reply.failure
            return []
        events = self._open_decoded(reply)
        span = self.spans.get(reply.span_index)
        if span is None or span.is_done:
            return events
        span.is_done = span.is_failed = True
        failed = anygpt_service_pb2.SpanFailed(failure=reply.failure)
        return [*events, Event(span_index=reply.span_index, span_failed=failed)]

    def _on_unencoded(self, reply: bus_pb2.Reply) -> list[Event]:
        """Media of earlier turns in which nothing is found say nothing; a new message cannot mend them."""
        is_earlier = reply.span_index >= len(
            different_media(self.accepted.request.parts if self.accepted else ())
        )
        if is_earlier and reply.failure.reason == BLANK:
            self.encoded.setdefault(reply.span_index, bus_pb2.Encoded())
        elif self.failure is None:
            self.failure, self.unencoded = reply.failure, reply.span_index
        return []

    def _on_cancel(self, reply: bus_pb2.Reply) -> list[Event]:
        self.cancel = self.cancel or reply.cancel
        return []

    def _on_terminal(self, reply: bus_pb2.Reply) -> list[Event]:
        outcome = reply.terminal.WhichOneof("outcome")
        if outcome is None or not self._move(Phase(outcome)):
            return []
        return [Event(**{outcome: getattr(reply.terminal, outcome)})]

    def _count_tokens(self, count: int) -> None:
        self._tokens += count
        self.usage.generated_tokens = max(self.usage.generated_tokens, self._tokens)

    def _count(self, usage: types_pb2.Usage) -> None:
        encode_ms, media_ms, media_bytes = self.usage.encode_ms, self.usage.media_ms, self.usage.media_bytes
        self.usage.CopyFrom(usage)
        self.usage.encode_ms, self.usage.media_ms, self.usage.media_bytes = encode_ms, media_ms, media_bytes


def _place(reply: bus_pb2.Reply) -> Place:
    return reply.stage, 0 if reply.stage in WHOLE else reply.span_index


def _restarted(index: int, attempt: int) -> Event:
    return Event(span_index=index, restarted=anygpt_service_pb2.Restarted(attempt=attempt))
