"""Work that was written to run through runs a step at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from anygpt.lane import Lane
from anygpt_models.serving.stepping import Finished, Pause, Paused, SteppedWork, steps_of
from tests.unit.decoders.spans import new_call


def threads() -> int:
    return sum(thread.name.startswith("stepped-work") for thread in threading.enumerate())


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    lane = Lane("test")
    yield lane
    lane.close()


async def _settled() -> None:
    """Every thread of earlier work has ended."""
    async with asyncio.timeout(5):
        while threads():
            await asyncio.sleep(0.01)


def count_to(limit: int, pause: Pause) -> int:
    return sum(pause(number) or 0 for number in range(limit))


def test_work_stands_still_between_steps() -> None:
    work = SteppedWork(lambda pause: count_to(3, pause))
    values = [work.advance(), work.advance(10), work.advance(20)]
    assert [step.value for step in values if isinstance(step, Paused)] == [0, 1, 2]
    end = work.advance(30)
    assert isinstance(end, Finished)
    assert end.result == 60


def test_what_the_work_raises_is_raised_outside() -> None:
    work = SteppedWork(lambda pause: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        work.advance()


async def test_abandoned_work_leaves_no_thread(lane: Lane) -> None:
    await _settled()
    async with aclosing(steps_of(lambda pause: count_to(1000, pause), lane, new_call())) as steps:
        assert [await anext(steps), await anext(steps)]
        assert threads() == 1
    await _settled()


async def test_a_reply_reaches_the_work(lane: Lane) -> None:
    async def twice(value: int) -> int:
        return 2 * value

    steps = [step async for step in steps_of(lambda pause: count_to(4, pause), lane, new_call(), twice)]
    assert isinstance(steps[-1], Finished)
    assert steps[-1].result == 12
