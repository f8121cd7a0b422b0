"""Batches hold equal shapes, never too many, and each item is answered alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from anygpt.lane import Lane
from anygpt.stage import Call, now_ms
from anygpt.v1 import types_pb2
from anygpt_models.serving.batching import Batcher, Batching


class Recorder:
    """Doubles its items, and remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[int, ...]]] = []
        self.gate = threading.Event()
        self.gate.set()

    def work(self, items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        self.gate.wait(5)
        self.batches.append([item.shape for item in items])
        if any(item.size == 13 for item in items):
            raise ArithmeticError
        return [item * 2 for item in items]


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    lane = Lane("test")
    yield lane
    lane.close()


def new_call(*, batch: bool = False) -> Call:
    priority = types_pb2.PRIORITY_BATCH if batch else types_pb2.PRIORITY_INTERACTIVE
    return Call("0" * 32, "team", now_ms() + 60_000, priority)


async def test_what_waits_goes_together_up_to_the_limit(lane: Lane) -> None:
    recorder = Recorder()
    batcher = Batcher(lane, recorder.work, Batching(4, 20.0))
    items = [np.full(3, place) for place in range(10)]
    answers = await asyncio.gather(*(batcher.run(item, new_call()) for item in items))
    assert [answer[0][0] for answer in answers] == [2 * place for place in range(10)]
    assert [len(batch) for batch in recorder.batches] == [4, 4, 2]


async def test_only_equal_shapes_and_priorities_share_a_batch(lane: Lane) -> None:
    recorder = Recorder()
    batcher = Batcher(lane, recorder.work, Batching(8, 20.0))
    kinds = [(2, False), (3, False), (2, True), (2, False), (3, True)]
    await asyncio.gather(*(batcher.run(np.zeros(size), new_call(batch=batch)) for size, batch in kinds))
    assert sorted(len(batch) for batch in recorder.batches) == [1, 1, 1, 2]
    assert all(len(set(batch)) == 1 for batch in recorder.batches)


async def test_one_alone_waits_no_longer_than_it_may(lane: Lane) -> None:
    batcher = Batcher(lane, Recorder().work, Batching(8, 5.0))
    began = asyncio.get_running_loop().time()
    await batcher.run(np.zeros(2), new_call())
    assert asyncio.get_running_loop().time() - began < 0.1


async def test_a_cancelled_item_leaves_the_others_alone(lane: Lane) -> None:
    recorder, call = Recorder(), new_call()
    recorder.gate.clear()
    batcher = Batcher(lane, recorder.work, Batching(1))
    first = asyncio.create_task(batcher.run(np.zeros(2), new_call()))
    second = asyncio.create_task(batcher.run(np.zeros(2), call))
    third = asyncio.create_task(batcher.run(np.ones(2), new_call()))
    await asyncio.sleep(0.01)
    call.cancel()
    recorder.gate.set()
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert [len(batch) for batch in recorder.batches] == [1, 1]


async def test_a_failure_is_told_to_those_it_concerns(lane: Lane) -> None:
    batcher = Batcher(lane, Recorder().work, Batching(4, 1.0))
    runs = [batcher.run(np.zeros(size), new_call()) for size in (13, 2)]
    results: list[Any] = await asyncio.gather(*runs, return_exceptions=True)
    assert isinstance(results[0], ArithmeticError)
    assert results[1][0].tolist() == [0, 0]
    assert (await batcher.run(np.ones(2), new_call()))[0].tolist() == [2, 2]


async def test_what_breaks_a_batch_ends_alone(lane: Lane) -> None:
    def picky(items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        if any(item[0] == 13 for item in items):
            raise ArithmeticError
        return [item * 2 for item in items]

    batcher = Batcher(lane, picky, Batching(3, 20.0))
    runs = [batcher.run(np.full(2, number), new_call()) for number in (1, 13, 2)]
    first, broken, last = await asyncio.gather(*runs, return_exceptions=True)
    assert isinstance(broken, ArithmeticError)
    assert [each[0][0] for each in (first, last) if not isinstance(each, BaseException)] == [2, 4]
