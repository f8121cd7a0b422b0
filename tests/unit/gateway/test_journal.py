"""The journal's fold: repeats, gaps, void attempts, owners that were followed, and the phases of a request."""

from __future__ import annotations

from itertools import permutations

import pytest

from anygpt import topology
from anygpt.answer import Event
from anygpt.attempts import new_attempt
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2
from services.gateway.journal import Fold
from services.gateway.phase import ENDS, NEXT, Phase

LLM = topology.GENERATOR.name
DECODER = topology.DECODERS[topology.SPEECH].name
Generated = stages_pb2.GenerateTokensResponse


class Pen:
    """Writes records of one attempt."""

    def __init__(self, stage: str, epoch: int = 1) -> None:
        self.stage = stage
        self.attempt = new_attempt(epoch)
        self._seq: dict[int, int] = {}

    def write(self, span_index: int = 0, **body: object) -> bus_pb2.Reply:
        seq = self._seq[span_index] = self._seq.get(span_index, -1) + 1
        return bus_pb2.Reply(
            stage=self.stage, attempt=self.attempt, span_index=span_index, seq=seq, **body  # type: ignore[arg-type]
        )  # fmt: skip

    def claim(self, span_index: int = 0) -> bus_pb2.Reply:
        return self.write(span_index, claimed=bus_pb2.AttemptClaimed())

    def open(self, index: int, modality: topology.Modality = topology.TEXT) -> bus_pb2.Reply:
        return self.write(index, generated=Generated(span_opened=stages_pb2.SpanOpened(modality=modality)))

    def text(self, text: str) -> bus_pb2.Reply:
        return self.write(0, generated=Generated(text=stages_pb2.TextChunk(text=text, ids=[1])))

    def close(self, index: int) -> bus_pb2.Reply:
        return self.write(index, generated=Generated(span_closed=stages_pb2.SpanClosed(ids=[1, 2])))

    def finish(self) -> bus_pb2.Reply:
        return self.write(0, generated=Generated(finished=stages_pb2.GenerationFinished()))

    def chunk(self, index: int, data: bytes) -> bus_pb2.Reply:
        chunk = anygpt_service_pb2.MediaChunk(data=data)
        return self.write(index, decoded=stages_pb2.DecodeResponse(chunk=chunk))

    def done(self, index: int) -> bus_pb2.Reply:
        return self.write(index, span_finished=anygpt_service_pb2.SpanFinished())

    def terminal(self, outcome: str) -> bus_pb2.Reply:
        kind = {"finished": anygpt_service_pb2.Finished, "expired": anygpt_service_pb2.Expired}[outcome]
        return self.write(terminal=bus_pb2.Terminal(**{outcome: kind()}))


def begun(owner: Pen | None = None) -> Fold:
    """A request that was accepted and composed."""
    fold, owner = Fold("r"), owner or Pen(topology.GATEWAY)
    composed = anygpt_service_pb2.PromptComposed(prompt_tokens=5)
    for reply in (Pen(topology.GATEWAY).write(accepted=bus_pb2.Accepted(tenant="t")), owner.claim()):
        fold.feed(reply)
    fold.feed(owner.write(composed=composed))
    return fold


def told(fold: Fold, *replies: bus_pb2.Reply) -> list[str]:
    """What a client is told, in short."""
    return [short(event) for reply in replies for event in fold.feed(reply)]


def short(event: Event) -> str:
    """The kind of an event, and its text."""
    return f"{event.WhichOneof('kind')} {event.text_delta.text}{event.media_chunk.data.decode()}".strip()


def test_a_second_attempt_that_says_the_same_in_other_pieces_is_told_only_what_is_new() -> None:
    fold, first, second = begun(), Pen(LLM), Pen(LLM, 2)
    before = told(fold, first.claim(), first.open(0), first.text("The cat "), first.text("sat"))
    after = told(fold, second.claim(), second.open(0), second.text("The"), second.text(" cat sat down"))
    assert before == ["span_started", "text_delta The cat", "text_delta sat"]
    assert after == ["text_delta  down"]
    assert fold.spans[0].text == "The cat sat down"


def test_a_second_attempt_that_says_something_else_restarts_the_span() -> None:
    fold, first, second = begun(), Pen(LLM), Pen(LLM, 2)
    told(fold, first.claim(), first.open(0), first.text("A dog"))
    assert told(fold, second.claim(), second.open(0), second.text("A "), second.text("cat")) == [
        "restarted",
        "text_delta A cat",
    ]


def test_a_second_attempt_that_says_less_restarts_the_span_when_it_ends() -> None:
    fold, first, second = begun(), Pen(LLM), Pen(LLM, 2)
    told(fold, first.claim(), first.open(0), first.text("A dog"))
    events = told(fold, second.claim(), second.open(0), second.text("A"), second.close(0))
    assert events == ["restarted", "text_delta A", "span_finished"]


def test_a_span_that_a_second_attempt_does_not_open_is_void() -> None:
    fold, first, second = begun(), Pen(LLM), Pen(LLM, 2)
    told(fold, first.claim(), first.open(0), first.text("A"), first.close(0), first.open(1, topology.SPEECH))
    events = told(fold, second.claim(), second.open(0), second.text("A"), second.close(0), second.finish())
    assert events == ["restarted", "usage"]
    assert fold.is_answered


def test_an_attempt_that_was_followed_is_not_heard_any_more() -> None:
    fold, first, second = begun(), Pen(LLM), Pen(LLM, 2)
    told(fold, first.claim(), first.open(0), first.text("A "), second.claim(), second.open(0))
    assert told(fold, first.text("zombie"), second.text("A cat")) == ["text_delta cat"]


def test_a_claim_of_an_earlier_epoch_comes_too_late() -> None:
    fold, late, second = begun(), Pen(LLM, 1), Pen(LLM, 2)
    told(fold, second.claim(), second.open(0), second.text("A"))
    assert told(fold, late.claim(), late.open(0), late.text("B")) == []


def test_a_decoder_that_is_replaced_restarts_its_span_and_no_other() -> None:
    fold, writer, first, second = begun(), Pen(LLM), Pen(DECODER), Pen(DECODER, 2)
    told(fold, writer.claim(), writer.open(0), writer.text("A"), writer.close(0))
    told(fold, writer.open(1, topology.SPEECH), writer.close(1), first.claim(1), first.chunk(1, b"la"))
    events = told(fold, second.claim(1), first.chunk(1, b"zombie"), second.chunk(1, b"la"), second.done(1))
    assert events == ["restarted", "media_chunk la", "span_finished"]


def test_the_failure_of_a_decoder_that_was_followed_is_not_the_span_s() -> None:
    fold, writer, first, second = begun(), Pen(LLM), Pen(DECODER), Pen(DECODER, 2)
    told(fold, writer.claim(), writer.open(0, topology.SPEECH), first.claim(0), second.claim(0))
    assert told(fold, first.write(0, failure=types_pb2.Failure(reason="DEADLINE"))) == []
    assert told(fold, second.chunk(0, b"la"), second.done(0)) == ["media_chunk la", "span_finished"]


def accepted_with(*objects: str) -> Fold:
    """A request whose message has these pictures."""
    fold = Fold("r")
    parts = [
        types_pb2.Part(modality=topology.IMAGE, media=types_pb2.MediaRef(object=name)) for name in objects
    ]
    request = anygpt_service_pb2.GenerateRequest(parts=parts)
    fold.feed(Pen(topology.GATEWAY).write(accepted=bus_pb2.Accepted(tenant="t", request=request)))
    return fold


@pytest.mark.parametrize(
    ("place", "reason", "is_failed"),
    [(2, "MEDIA_BLANK", False), (1, "MEDIA_BLANK", True), (2, "MEDIA_UNREADABLE", True)],
)
def test_only_blank_media_of_earlier_turns_are_left_out(place: int, reason: str, is_failed: bool) -> None:
    fold, encoder = accepted_with("one", "two", "two"), Pen(topology.ENCODERS[topology.IMAGE].name)
    fold.feed(encoder.write(place, failure=types_pb2.Failure(reason=reason)))
    assert (fold.failure is not None, place in fold.encoded) == (is_failed, not is_failed)


def test_records_that_are_repeated_and_out_of_order_tell_the_same() -> None:
    writer = Pen(LLM)
    first, *rest = [writer.claim(), writer.open(0), writer.text("a"), writer.text("b"), writer.close(0)]
    expected = told(begun(), first, *rest)
    for order in permutations(rest):
        assert told(begun(), first, *order, *order) == expected


def test_an_owner_that_was_followed_decides_nothing() -> None:
    first, second = Pen(topology.GATEWAY, 1), Pen(topology.GATEWAY, 2)
    fold = begun(first)
    told(fold, second.claim())
    assert told(fold, first.terminal("expired")) == []
    assert told(fold, second.terminal("expired")) == ["expired"]
    assert told(fold, second.terminal("expired"), Pen(LLM).text("late")) == []


def test_usage_so_far_counts_each_token_once_over_attempts() -> None:
    fold, first, second = begun(), Pen(LLM), Pen(LLM, 2)
    told(fold, first.claim(), first.open(0), first.text("a"), first.text("b"), first.text("c"))
    told(fold, second.claim(), second.open(0), second.text("a"), second.text("b"))
    assert (fold.usage.prompt_tokens, fold.usage.generated_tokens) == (5, 3)


def test_a_request_goes_through_its_phases_in_order() -> None:
    fold, owner, writer = Fold("r"), Pen(topology.GATEWAY), Pen(LLM)
    seen = [fold.phase]
    for reply in (
        Pen(topology.GATEWAY).write(accepted=bus_pb2.Accepted()), owner.claim(),
        owner.write(composed=anygpt_service_pb2.PromptComposed()), writer.claim(), writer.finish(),
        owner.terminal("finished"),
    ):  # fmt: skip
        fold.feed(reply)
        seen.append(fold.phase)
    assert list(dict.fromkeys(seen)) == [
        Phase.NEW, Phase.ACCEPTED, Phase.ENCODING, Phase.GENERATING, Phase.DECODING, Phase.FINISHED,
    ]  # fmt: skip


def test_a_request_does_not_finish_before_its_generator_has() -> None:
    owner = Pen(topology.GATEWAY)
    assert told(begun(owner), owner.terminal("finished")) == []


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase not in ENDS | {Phase.NEW}])
def test_a_request_can_end_untimely_in_every_phase(phase: Phase) -> None:
    assert NEXT[phase] >= {Phase.FAILED, Phase.CANCELLED, Phase.EXPIRED}
