"""Quotas: who is refused when room is short, and what an answer may then not have."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.errors import Exhausted
from anygpt.settings import LimitSettings
from anygpt.stage import Call, now_ms
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2
from services.gateway.ledger import REQUESTS, TOKENS, Ledger
from services.gateway.load import GONE_MS, Load
from services.gateway.quota import Quota
from services.gateway.settings import Settings

OUTPUTS = tuple(topology.MODALITY_NAMES)
IMAGE_DECODER = topology.DECODERS[topology.IMAGE].name


class Desk:
    """A quota with the ledger and the load that it looks at."""

    def __init__(self, settings: Settings) -> None:
        self.ledger = Ledger(OUTPUTS)
        self.load = Load(MemoryBus())
        self.quota = Quota(settings, self.ledger, self.load, OUTPUTS)
        self._count = 0

    def ask(self, tenant: str, **request: object) -> bus_pb2.Accepted:
        """Reserve for one request, 100 tokens long."""
        accepted = bus_pb2.Accepted(tenant=tenant, tokens=100)
        accepted.request.parts.add(text="hello", modality=topology.TEXT)
        for name, value in request.items():
            getattr(accepted.request, name).extend(value)
        return self._reserve(accepted)

    def ask_batch(self, tenant: str) -> bus_pb2.Accepted:
        """The same, as batch work."""
        accepted = bus_pb2.Accepted(tenant=tenant, tokens=100)
        accepted.request.priority = types_pb2.PRIORITY_BATCH
        return self._reserve(accepted)

    def fill(self, tenant: str) -> int:
        """Ask until the tenant is refused; how often it was not."""
        for count in range(10_000):
            try:
                self.ask(tenant)
            except Exhausted:
                return count
        raise AssertionError("nobody was refused")

    def compete(self, *tenants: str) -> list[int]:
        """Let the oldest request end again and again, while all tenants ask for more; what each then has."""
        for _ in range(2000):
            running = [name for tenant in tenants for name in self.ledger.requests_of(tenant)]
            if running:
                self.quota.release(min(running, key=lambda name: int(name.removeprefix("request-"))))
            for tenant in tenants * 2:
                with suppress(Exhausted):
                    self.ask(tenant)
        return [self.ledger.used_by((tenant, False), REQUESTS) for tenant in tenants]

    def beat(self, stage: str, capacity: int, **more: int) -> None:
        """Hear of a replica of a stage, now or `ago_ms`."""
        beat = types_pb2.Heartbeat(stage=stage, replica=stage, capacity=capacity)
        beat.running = more.get("running", 0)
        beat.sent_at.FromMilliseconds(now_ms() - more.get("ago_ms", 0))
        self.load.see(beat)

    def end(self, request_id: str) -> None:
        """Hear that a request has finished."""
        terminal = bus_pb2.Terminal(finished=anygpt_service_pb2.Finished())
        self.ledger.see(bus_pb2.Reply(request_id=request_id, terminal=terminal))

    def _reserve(self, accepted: bus_pb2.Accepted) -> bus_pb2.Accepted:
        accepted.deadline.FromMilliseconds(now_ms() + 60_000)
        self._count += 1
        self.quota.reserve(f"request-{self._count}", accepted)
        return accepted


class Clock:
    """The time of day, as a test moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ms = now_ms()
        monkeypatch.setattr("time.time_ns", lambda: self.ms * 1_000_000)
        monkeypatch.setattr("time.time", lambda: self.ms / 1000)


def desk(**settings: object) -> Desk:
    """A desk with these settings."""
    return Desk(Settings(**settings))  # type: ignore[arg-type]


def busy_desk(monkeypatch: pytest.MonkeyPatch, requests: int) -> tuple[Desk, Clock]:
    """A desk with so many requests, of which 40 have ended, one every 100 ms."""
    one, clock = desk(), Clock(monkeypatch)
    for _ in range(requests):
        one.ask("a")
    for number in range(1, 41):
        clock.ms += 100
        one.end(f"request-{number}")
    return one, clock


def test_one_tenant_alone_gets_its_part_and_leaves_the_rest() -> None:
    one = desk(running_requests=100, tenant_part=0.75)
    assert one.fill("flood") == pytest.approx(75, abs=1)


def test_a_second_tenant_is_admitted_at_once_beside_a_flood() -> None:
    one = desk(running_requests=100)
    one.fill("flood")
    assert one.fill("guest") >= 15


def test_tenants_that_compete_become_equal() -> None:
    one = desk(running_requests=100)
    one.fill("first")
    first, second = one.compete("first", "second")
    assert abs(first - second) <= 4


def test_a_share_of_three_gets_three_times_as_much() -> None:
    one = desk(running_requests=200, tenant_part=0.5, limits=LimitSettings(shares={"big": 3.0}))
    big, small = one.compete("big", "small")
    assert 2.5 <= big / small <= 3.5


def test_batch_work_leaves_most_of_the_room_to_people() -> None:
    one = desk(running_requests=100)
    with suppress(Exhausted):
        for _ in range(100):
            one.ask_batch("tenant")
    assert one.ledger.used(REQUESTS) <= 45
    assert one.fill("tenant") >= 30


def test_tokens_are_counted_beside_requests() -> None:
    one = desk(running_requests=1000, running_tokens=1000)
    assert one.fill("flood") == pytest.approx(7, abs=1)
    assert one.ledger.used(TOKENS) <= 1000


def test_a_single_request_larger_than_its_share_is_admitted_when_nothing_else_runs() -> None:
    one = desk(running_tokens=50)
    one.ask("alone")
    with pytest.raises(Exhausted) as refused:
        one.ask("other")
    assert refused.value.reason == "SYSTEM_FULL"


def test_a_refusal_tells_when_to_come_back() -> None:
    one = desk(running_requests=10)
    one.fill("flood")
    with pytest.raises(Exhausted) as refused:
        one.quota.look(Call("", "flood", now_ms() + 1000))
    assert refused.value.reason == "TENANT_FULL"
    assert 100 <= refused.value.retry_after_ms <= 30_000


def test_a_full_decoder_is_closed_to_those_who_can_do_without() -> None:
    one = desk(stage_backlog=0)
    one.beat(IMAGE_DECODER, capacity=2)
    for _ in range(2):
        assert not one.ask("a", want=[topology.IMAGE]).closed
    assert list(one.ask("b").closed) == [topology.IMAGE]
    with pytest.raises(Exhausted) as refused:
        one.ask("b", want=[topology.IMAGE])
    assert refused.value.reason == "SYSTEM_FULL"


def test_work_that_a_stage_tells_of_counts_even_if_the_ledger_knows_none() -> None:
    one = desk(stage_backlog=0)
    one.beat(IMAGE_DECODER, capacity=2, running=2)
    assert list(one.ask("a").closed) == [topology.IMAGE]


def test_a_decoder_whose_replicas_are_gone_is_closed_and_one_never_heard_of_is_not() -> None:
    one = desk()
    one.beat(IMAGE_DECODER, capacity=2, ago_ms=2 * GONE_MS)
    one.beat(topology.GENERATOR.name, capacity=2)
    assert list(one.ask("a").closed) == [topology.IMAGE]
    assert one.ask("a", want=[topology.IMAGE])


def test_decoders_of_spans_that_were_not_opened_are_free_once_the_answer_is_written() -> None:
    one = desk()
    one.ask("a")
    opened = stages_pb2.GenerateTokensResponse(span_opened=stages_pb2.SpanOpened(modality=topology.IMAGE))
    done = stages_pb2.GenerateTokensResponse(finished=stages_pb2.GenerationFinished())
    for generated in (opened, done):
        one.ledger.see(bus_pb2.Reply(request_id="request-1", generated=generated))
    assert one.ledger.used(IMAGE_DECODER) == 1
    assert one.ledger.used(topology.DECODERS[topology.VIDEO].name) == 0
    assert one.ledger.used(REQUESTS) == 1
    one.ledger.see(bus_pb2.Reply(request_id="request-1", terminal=bus_pb2.Terminal()))
    assert one.ledger.used(IMAGE_DECODER) == one.ledger.used(REQUESTS) == one.ledger.used(TOKENS) == 0


def test_a_request_that_would_be_answered_too_late_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, clock = busy_desk(monkeypatch, 100)
    assert one.ledger.expected_ms() == pytest.approx(61 * 100, rel=0.05)
    one.quota.look(Call("new", "a", clock.ms + 15_000))
    one.quota.release("new")
    with pytest.raises(Exhausted) as refused:
        one.quota.look(Call("", "a", clock.ms + 10_000))
    assert refused.value.reason == "SYSTEM_BUSY"
    assert 500 < refused.value.retry_after_ms < 1500


def test_requests_that_are_still_taken_in_count_as_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    one, clock = busy_desk(monkeypatch, 50)
    alone_ms = one.ledger.expected_ms()
    for number in range(10):
        one.quota.look(Call(f"new-{number}", "a", clock.ms + 15_000))
    assert one.ledger.expected_ms() == pytest.approx(alone_ms + 10 * 100, rel=0.1)
    for number in range(10):
        one.quota.release(f"new-{number}")
    assert one.ledger.expected_ms() == alone_ms


def test_slow_answers_one_after_another_refuse_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    one, clock = desk(), Clock(monkeypatch)
    for number in range(1, 41):
        one.ask("a")
        clock.ms += 60_000
        one.end(f"request-{number}")
    one.quota.look(Call("", "a", clock.ms + 1_000))


def test_a_request_whose_end_was_never_seen_is_forgotten_after_its_deadline() -> None:
    one = desk(running_requests=1)
    stale = bus_pb2.Accepted(tenant="a", tokens=1)
    stale.deadline.FromMilliseconds(now_ms() - 120_000)
    one.ledger.see(bus_pb2.Reply(request_id="stale", accepted=stale))
    one.quota.look(Call("", "b", now_ms() + 1000))
    assert one.ledger.used(REQUESTS) == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=80))
def test_the_ledger_is_the_same_however_often_a_record_comes(steps: list[tuple[int, bool]]) -> None:
    ledger, alive, ended = Ledger(OUTPUTS), set[int](), set[int]()
    for number, ends in steps:
        if ends:
            ended.add(number)
            ledger.see(bus_pb2.Reply(request_id=str(number), terminal=bus_pb2.Terminal()))
        else:
            alive.add(number)
            accepted = bus_pb2.Accepted(tenant="a", tokens=7)
            ledger.see(bus_pb2.Reply(request_id=str(number), accepted=accepted))
        assert ledger.used(REQUESTS) == len(alive - ended)
        assert ledger.used(TOKENS) == 7 * len(alive - ended)
