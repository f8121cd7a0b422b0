"""Requests join and leave at every step: cancel, deadline, a full waiting room, people before batch work."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from anygpt.errors import AnyGPTError, DeadlineExpired, Exhausted, RequestCancelled, Unavailable
from anygpt.lane import Lane
from anygpt.stage import Call, now_ms
from anygpt.v1 import stages_pb2, types_pb2
from services.llm.engine import Engine, StepFailed
from services.llm.generation import Generation
from services.llm.scheduler import Bounds
from services.llm.stage import LlmStage
from services.llm.step import Fed, Feed
from tests.unit.llm.asking import ask, call, opened, request, stream

ENDLESS = {"text": {"max_tokens": 500, "temperature": 1.5}}

SHORT = request(want=["text"], sampling={"text": {"max_tokens": 3}})


def endless(seed: int = 0) -> stages_pb2.GenerateTokensRequest:
    """A request whose answer takes hundreds of steps: its end of turn opens further spans of sound."""
    return request(want=["audio"], seed=seed, sampling={"audio": {"max_tokens": 400}})


async def begin(
    stage: LlmStage, one: stages_pb2.GenerateTokensRequest, errand: Call
) -> asyncio.Task[AnyGPTError]:
    """Start a request that will fail; returns once it has begun to answer."""
    began = asyncio.Event()

    async def run() -> AnyGPTError:
        try:
            async for _ in stream(stage, one, errand):
                began.set()
        except AnyGPTError as error:
            return error
        raise AssertionError("it ended by itself")

    task = asyncio.create_task(run())
    await asyncio.wait_for(began.wait(), 10)
    return task


async def test_a_cancelled_request_frees_its_slot_within_one_step(pack: Path) -> None:
    async with opened(pack, slots=1) as stage:
        errand = call()
        task = await begin(stage, endless(), errand)
        steps = count_steps(stage.engine)
        errand.cancel()
        assert isinstance(await task, RequestCancelled)
        assert len(steps) <= 1
        assert stage.engine.scheduler.free_slots == 1
        assert (await ask(stage, request(want=["text"]))).text


def count_steps(engine: Engine) -> list[int]:
    """A list that grows by one with each step that begins from now on."""
    steps: list[int] = []
    model = engine._model
    step = model.step

    def counted(feeds: list[Feed]) -> list[Fed]:
        steps.append(len(feeds))
        return step(feeds)

    model.step = counted  # type: ignore[method-assign]
    return steps


async def test_an_expired_request_is_told_and_its_neighbour_goes_on(stage: LlmStage) -> None:
    neighbour = asyncio.create_task(ask(stage, request(want=["text"], seed=4)))
    task = await begin(stage, endless(), call(deadline_ms=now_ms() + 150))
    assert isinstance(await task, DeadlineExpired)
    assert (await neighbour).text
    assert stage.engine.scheduler.free_slots == 4


async def test_a_caller_that_goes_away_frees_its_slot(stage: LlmStage) -> None:
    task = await begin(stage, endless(), call())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ask(stage, request(want=["text"]))
    assert stage.engine.scheduler.free_slots == 4
    assert not stage.engine.scheduler.running


async def test_a_full_waiting_room_refuses_and_what_runs_is_untouched(pack: Path) -> None:
    async with opened(pack, slots=1, waiting_requests=2) as stage:
        expected = await ask(stage, request(want=["text"], seed=7))
        first = asyncio.create_task(ask(stage, request(want=["text"], seed=7)))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(ask(stage, request(want=["text"], seed=n))) for n in range(4)]
        results = await asyncio.gather(*others, return_exceptions=True)
        refused = [result for result in results if isinstance(result, Exhausted)]
        assert refused
        assert all(error.reason == "WAITING_ROOM_FULL" and error.retry_after_ms for error in refused)
        assert (await first).ids == expected.ids


async def test_people_go_before_batch_work_and_batch_work_does_not_starve(pack: Path) -> None:
    async with opened(pack, slots=1) as stage:
        ended: list[str] = []

        async def run(name: str, priority: types_pb2.Priority.ValueType) -> None:
            await ask(
                stage, request(want=["text"], sampling={"text": {"max_tokens": 2}}), call(priority=priority)
            )
            ended.append(name)

        batch = [run(f"batch {n}", types_pb2.PRIORITY_BATCH) for n in range(2)]
        people = [run(f"person {n}", types_pb2.PRIORITY_INTERACTIVE) for n in range(9)]
        await asyncio.gather(*(asyncio.create_task(one) for one in (*batch, *people)))
        assert ended.index("person 0") < ended.index("batch 0") < ended.index("person 8")


async def test_a_model_without_memory_refuses_the_newest_and_serves_the_others(stage: LlmStage) -> None:
    expected = await ask(stage, request(want=["text"], seed=3))
    step = stage.engine._model.step

    def scarce(feeds: list[Feed]) -> list[Fed]:
        if len(feeds) > 1:
            raise Exhausted("the model's memory is full", reason="MEMORY")
        return step(feeds)

    stage.engine._model.step = scarce  # type: ignore[method-assign]
    older = asyncio.create_task(ask(stage, request(want=["text"], seed=3)))
    await asyncio.sleep(0.01)
    with pytest.raises(Exhausted):
        await ask(stage, request(want=["text"], seed=5))
    assert (await older).ids == expected.ids


async def test_a_request_whose_numbers_are_not_finite_ends_alone(stage: LlmStage) -> None:
    expected = await ask(stage, request("hello", want=["text"], seed=3))
    step = stage.engine._model.step

    def broken(feeds: list[Feed]) -> list[Fed]:
        return [
            Fed(None, fed.signals) if feed.draw and feed.draw.seed == 99 else fed
            for feed, fed in zip(feeds, step(feeds), strict=True)
        ]

    stage.engine._model.step = broken  # type: ignore[method-assign]
    neighbour = asyncio.create_task(ask(stage, request("hello", want=["text"], seed=3)))
    with pytest.raises(AnyGPTError, match="not finite"):
        await ask(stage, request(want=["text"], seed=99))
    assert (await neighbour).ids == expected.ids
    assert stage.engine.scheduler.free_slots == 4


async def test_people_without_end_do_not_keep_batch_work_out(pack: Path) -> None:
    async with opened(pack, slots=3) as stage:
        batch = asyncio.create_task(ask(stage, SHORT, call(priority=types_pb2.PRIORITY_BATCH)))
        answered = 0

        async def people() -> None:
            nonlocal answered
            while not batch.done() and answered < 200:
                await ask(stage, SHORT)
                answered += 1

        await asyncio.gather(*(people() for _ in range(8)))
        assert batch.done()
        assert answered <= 40


async def test_one_tenant_can_not_tell_what_another_has_asked(stage: LlmStage) -> None:
    secret = request("a secret that nobody would guess, and more of it", want=["text"])
    await ask(stage, secret, call(tenant="one"))
    assert (await ask(stage, secret, call(tenant="other"))).usage.cached_tokens == 0
    assert (await ask(stage, secret, call(tenant="one"))).usage.cached_tokens > 0


async def test_a_step_that_fails_ends_the_request_that_it_fails_for_and_no_neighbour(stage: LlmStage) -> None:
    due = await ask(stage, request("hello", want=["text"], seed=3))
    step = stage.engine._model.step

    def broken_for_99(feeds: list[Feed]) -> list[Fed]:
        if any(feed.draw and feed.draw.seed == 99 for feed in feeds):
            raise RuntimeError("broken")
        return step(feeds)

    stage.engine._model.step = broken_for_99  # type: ignore[method-assign]
    neighbour = asyncio.create_task(ask(stage, request("hello", want=["text"], seed=3)))
    with pytest.raises(StepFailed, match="broken"):
        await ask(stage, request(want=["text"], seed=99))
    assert (await neighbour).ids == due.ids
    assert stage.engine.scheduler.free_slots == 4
    await stage.probe()


async def test_an_answer_that_can_not_go_on_ends_alone(
    stage: LlmStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Generation.take

    def broken_for_99(generation: Generation, feed: Feed, fed: Fed) -> None:
        if generation.order.seed == 99:
            raise RuntimeError("broken")
        take(generation, feed, fed)

    monkeypatch.setattr(Generation, "take", broken_for_99)
    neighbour = asyncio.create_task(ask(stage, request("hello", want=["text"], seed=3)))
    with pytest.raises(StepFailed, match="broken"):
        await ask(stage, request(want=["text"], seed=99))
    assert (await neighbour).text
    assert stage.engine.scheduler.free_slots == 4


async def test_a_probe_tells_of_a_model_that_fails_whoever_is_fed_and_leaves_no_page_taken(
    stage: LlmStage,
) -> None:
    def broken(feeds: list[Feed]) -> list[Fed]:
        raise RuntimeError("broken")

    pages = stage.engine.scheduler.pages.available
    await stage.probe()
    stage.engine._model.step = broken  # type: ignore[method-assign]
    with pytest.raises(StepFailed):
        await ask(stage, request())
    with pytest.raises(RuntimeError, match="broken"):
        await stage.probe()
    assert stage.engine.scheduler.pages.available == pages


async def test_a_plan_that_can_not_be_made_ends_the_generator_and_tells_everybody(
    stage: LlmStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(stage.engine.scheduler, "plan", broken)
    with pytest.raises(StepFailed, match="broken"):
        await ask(stage, request())
    with pytest.raises(RuntimeError, match="broken"):
        await stage.ended()
    with pytest.raises(Unavailable):
        await ask(stage, request())


async def test_a_generator_that_closes_tells_who_runs(pack: Path) -> None:
    async with opened(pack) as stage:
        task = await begin(stage, endless(), call())
    assert isinstance(await task, Unavailable)


async def test_usage_counts_tokens_and_time(stage: LlmStage) -> None:
    started = time.monotonic()
    reply = await ask(stage, request("hello there", want=["image"]))
    usage = reply.usage
    assert usage.prompt_tokens == len("hello there")
    assert usage.generated_tokens == len(reply.ids) == 6
    assert usage.queue_ms + usage.prefill_ms + usage.decode_ms <= 1000 * (time.monotonic() - started) + 2
    again = await ask(stage, request("hello there", want=["image"]))
    assert again.usage.cached_tokens == usage.prompt_tokens


async def test_an_engine_that_was_not_started_refuses(stage: LlmStage) -> None:
    lane = Lane("unused")
    engine = Engine(stage.engine._model, lane, Bounds(1, 8, 1, 100, 64))
    stage.engine, running = engine, stage.engine
    with pytest.raises(Unavailable):
        await ask(stage, request())
    stage.engine = running
    lane.close()
