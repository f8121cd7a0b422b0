"""The load generator: when requests are due, what it sees, what it counts."""

from __future__ import annotations

import math
import statistics
from itertools import islice, pairwise
from pathlib import Path

import pytest

from anygpt.answer import Event
from anygpt.bench import arrivals
from anygpt.bench_plot import plot
from anygpt.bench_report import Slo, report
from anygpt.bench_trace import LOST, REFUSED, Trace
from anygpt.cli_bench import draw
from anygpt.errors import Exhausted, InvalidInput
from anygpt.v1 import anygpt_service_pb2 as api
from anygpt.v1 import types_pb2

TEXT = types_pb2.MODALITY_TEXT


def seen(*events: Event, due_s: float = 0.0, number: int = 0) -> Trace:
    """The trace of these events, one every tenth of a second, numbered unless they are."""
    trace = Trace(number, due_s)
    for i, event in enumerate(events):
        event.request_id = event.request_id or "r"
        event.seq = event.seq or i + 1
        trace.see(event, due_s + (i + 1) / 10)
    return trace


def started() -> Event:
    return Event(started=api.Started())


def opened(index: int = 0) -> Event:
    return Event(span_index=index, span_started=api.SpanStarted(modality=TEXT))


def said(text: str, index: int = 0) -> Event:
    return Event(span_index=index, text_delta=api.TextDelta(text=text))


def finished() -> Event:
    return Event(finished=api.Finished())


def whole(due_s: float = 0.0) -> Trace:
    return seen(started(), opened(), said("a"), said("b"), finished(), due_s=due_s)


def test_a_steady_beat_has_equal_gaps() -> None:
    assert list(islice(arrivals(4, math.inf, 0), 5)) == [0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("burstiness", [0.2, 1.0, 5.0])
def test_arrivals_keep_their_rate_and_are_as_bursty_as_asked(burstiness: float) -> None:
    due = islice(arrivals(10, burstiness, 7), 20_000)
    gaps = [after - before for before, after in pairwise(due)]
    assert statistics.mean(gaps) == pytest.approx(0.1, rel=0.1)
    variation = statistics.stdev(gaps) / statistics.mean(gaps)
    assert variation == pytest.approx(burstiness**-0.5, rel=0.15)


def test_a_whole_answer_is_timed_from_its_intended_send_time() -> None:
    trace = whole(due_s=3.0)
    assert trace.is_finished
    assert not trace.breaches
    assert trace.total_s == pytest.approx(0.5)
    assert trace.gaps_s == [pytest.approx(0.1)]
    assert trace.answer[0][1].text == "ab"


def test_a_gap_a_repeat_and_an_event_after_the_end_are_breaches() -> None:
    assert seen(started(), Event(seq=3, usage=api.UsageReport())).breaches == ["gap"]
    assert seen(started(), Event(seq=1, usage=api.UsageReport())).breaches == ["repeat"]
    assert seen(started(), finished(), finished()).breaches == ["event after the end"]
    assert seen(started(), Event(request_id="s", usage=api.UsageReport())).breaches == [
        "event of another request"
    ]


def test_a_restarted_span_forgets_what_was_shown_of_it() -> None:
    restarted = Event(restarted=api.Restarted(attempt=2))
    trace = seen(started(), opened(), said("a"), restarted, opened(), said("b"), finished())
    assert [(span.text, trace.restarts) for _, span in trace.answer] == [("b", 1)]


def test_the_longest_silence_counts_from_the_fault_on() -> None:
    trace = whole()
    trace.times_s = [1.0, 2.0, 9.0]
    trace.ended_s = 9.5
    assert trace.silence_s(0.0) == 7.0
    assert trace.silence_s(8.0) == 1.0
    assert trace.silence_s(20.0) == 0.0


def test_a_request_is_encoding_until_it_is_composed_and_decoding_after_its_usage() -> None:
    trace = seen(
        started(), Event(prompt_composed=api.PromptComposed()), Event(usage=api.UsageReport()), finished()
    )
    assert [trace.phase(at_s) for at_s in (0.0, 0.15, 0.25, 0.35, 0.5)] == [
        "", "encoding", "generating", "decoding", "",
    ]  # fmt: skip


def test_goodput_counts_only_what_is_whole_unbroken_and_quick() -> None:
    slow, refused, lost = whole(), Trace(2, 0.0), seen(started())
    slow.ended_s = 9.0
    refused.refuse(Exhausted("full"), 0.1)
    lost.lose(10.0)
    told = report([whole(), slow, refused, lost], Slo.parse("total=1,gap=0.5"))
    assert told["good"] == 1
    assert told["outcomes"] == {"finished": 2, REFUSED: 1, LOST: 1}
    assert told["reasons"] == {"EXHAUSTED": 1, "NO_END": 1}
    assert told["total_ms"]["max"] == 9000.0


def test_an_slo_of_an_unknown_kind_is_refused() -> None:
    for text in ("speed=1", "total=fast"):
        with pytest.raises(InvalidInput):
            Slo.parse(text)


def test_a_mix_is_drawn_by_weight_and_the_same_each_time() -> None:
    drawn = draw("text=3,image=1", 400, 5)
    texts = [request for request in drawn if TEXT in request.want]
    assert 250 < len(texts) < 350
    assert len({request.idempotency_key for request in drawn}) == 400
    again = draw("text=3,image=1", 400, 5)
    assert [r.parts for r in drawn] == [r.parts for r in again]


def test_a_mix_may_be_a_file_of_requests(tmp_path: Path) -> None:
    path = tmp_path / "mix.jsonl"
    path.write_text('{"parts": [{"text": "one"}], "weight": 1}\n{"parts": [{"text": "two"}], "weight": 0}\n')
    assert {request.parts[0].text for request in draw(str(path), 20, 0)} == {"one"}
    path.write_text("[]")
    with pytest.raises(InvalidInput):
        draw(str(path), 1, 0)


def test_a_run_is_drawn_into_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "run.png"
    lost = seen(started(), due_s=1.0)
    lost.lose(5.0)
    plot([whole(), whole(2.0), lost], Slo(total=1.0), path)
    assert path.read_bytes().startswith(b"\x89PNG")
