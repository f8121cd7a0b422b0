"""Deterministic mode: the same request gives the same bits alone, in company, cut, cached and replayed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from anygpt.errors import InvalidInput
from anygpt.v1 import stages_pb2
from services.llm.stage import LlmStage
from tests.unit.llm.asking import Reply, ask, opened, request

LONG = "a cat on a blue background, and then " * 8
REQUESTS = [
    request("hello", seed=1),
    request("happy piano music", seed=2, want=["audio", "text"]),
    request(LONG, seed=3, want=["image", "text"]),
    request("The capital of France", seed=4, want=["text"]),
    request("tell me", seed=5, want=["speech", "video"]),
    request(LONG + "a dog", seed=6, want=["image"]),
]

GROWING = [request("tell me", seed=seed, want=["audio", "text"]) for seed in range(8)]
"""Short prompts with long answers: all are let in, then the cache is too small for them."""


def same(one: Reply, other: Reply) -> bool:
    """Whether two answers are equal to the bit."""
    return one.ids == other.ids and one.signals == other.signals and one.text == other.text


async def alone(pack: Path, **settings: str) -> list[Reply]:
    """Each answer from a fresh generator's first request."""
    replies = []
    for one in REQUESTS:
        async with opened(pack, deterministic=True, slots=1, **settings) as stage:
            replies.append(await ask(stage, one))
    return replies


async def cramped(pack: Path, **settings: str) -> tuple[list[Reply], list[Reply]]:
    """Answers that had to give way to each other, and the same ones with room for all."""
    async with opened(pack, deterministic=True, slots=8, cache_tokens=1, **settings) as stage:
        replies = await asyncio.gather(*(ask(stage, one) for one in GROWING))
        assert stage.engine.scheduler.preemptions > 0
    async with opened(pack, deterministic=True, slots=8, **settings) as stage:
        return list(replies), [await ask(stage, one) for one in GROWING]


async def test_alone_equals_in_a_batch(pack: Path, exact: LlmStage) -> None:
    together = await asyncio.gather(*(ask(exact, one) for one in REQUESTS))
    assert all(map(same, together, await alone(pack)))


async def test_a_cached_beginning_changes_nothing(pack: Path) -> None:
    async with opened(pack, deterministic=True, slots=8) as stage:
        first = [await ask(stage, one) for one in REQUESTS]
        again = [await ask(stage, one) for one in REQUESTS]
    assert all(map(same, first, again))
    assert all(map(same, first, await alone(pack)))
    assert all(reply.usage.cached_tokens > 0 for reply in again)


async def test_who_gave_way_and_came_back_has_the_same_answer(pack: Path) -> None:
    assert all(map(same, *await cramped(pack)))


async def test_a_prompt_read_in_pieces_equals_one_read_whole(pack: Path) -> None:
    whole, pieces = [], []
    async with opened(pack, deterministic=True, slots=1) as stage:
        whole = [await ask(stage, one) for one in REQUESTS]
    async with opened(pack, deterministic=True) as stage:
        neighbours = [
            asyncio.create_task(ask(stage, request("stay", seed=n, want=["text"]))) for n in range(3)
        ]
        await asyncio.sleep(0)
        pieces = [await ask(stage, one) for one in REQUESTS]
        await asyncio.gather(*neighbours)
    assert all(map(same, whole, pieces))


@pytest.mark.parametrize("index", range(len(REQUESTS)))
async def test_a_replay_continues_as_if_nothing_had_happened(exact: LlmStage, index: int) -> None:
    undisturbed = await ask(exact, REQUESTS[index])
    for kept in {1, 2, len(undisturbed.ids) // 3, len(undisturbed.ids) // 2, len(undisturbed.ids) - 1}:
        again = stages_pb2.GenerateTokensRequest()
        again.CopyFrom(REQUESTS[index])
        again.forced_ids.extend(undisturbed.ids[:kept])
        replayed = await ask(exact, again)
        assert same(replayed, undisturbed)
        assert replayed.usage.generated_tokens == undisturbed.usage.generated_tokens


async def test_forced_ids_that_the_grammar_forbids_are_refused_with_their_place(exact: LlmStage) -> None:
    undisturbed = await ask(exact, REQUESTS[2])
    ids = list(undisturbed.ids)
    ids[-1] = 1
    with pytest.raises(InvalidInput) as caught:
        await ask(exact, request(LONG, seed=3, want=["image", "text"], forced_ids=ids))
    assert caught.value.field == f"forced_ids[{len(ids) - 1}]"


async def test_another_seed_gives_another_answer(exact: LlmStage) -> None:
    answers = {tuple((await ask(exact, request("hello", seed=seed, want=["text"]))).ids) for seed in range(4)}
    assert len(answers) == 4
