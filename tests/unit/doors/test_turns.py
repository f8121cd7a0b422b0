"""Turns: places go round among tenants by their shares, whoever came first."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from anygpt import topology
from anygpt.stage import Call, now_ms
from anygpt.turns import Turns
from anygpt.v1 import types_pb2


def errand(tenant: str, priority: topology.Priority = types_pb2.PRIORITY_INTERACTIVE) -> Call:
    """A call of that tenant."""
    return Call("", tenant, now_ms() + 60_000, priority)


async def served(tenants: Sequence[str], shares: Mapping[str, float]) -> list[str]:
    """The order in which waiting errands of these tenants are served at one place that is taken at first."""
    turns, order, release = Turns(1, shares), list[str](), asyncio.Event()

    async def hold() -> None:
        async with turns.turn(errand("holder")):
            await release.wait()

    async def work(tenant: str) -> None:
        async with turns.turn(errand(tenant)):
            order.append(tenant)

    async with asyncio.TaskGroup() as group:
        group.create_task(hold())
        await asyncio.sleep(0)
        for tenant in tenants:
            group.create_task(work(tenant))
        await asyncio.sleep(0)
        release.set()
    return order


async def test_a_single_errand_does_not_wait_for_anothers_backlog() -> None:
    order = await served(["flood"] * 50 + ["guest"], {})
    assert order.index("guest") <= 1


async def test_two_backlogs_are_served_in_turn() -> None:
    order = await served(["a"] * 20 + ["b"] * 20, {})
    assert abs(order[:20].count("a") - 10) <= 1


async def test_a_share_of_three_gets_three_of_four_places() -> None:
    order = await served(["big"] * 30 + ["small"] * 30, {"big": 3})
    assert abs(order[:20].count("big") - 15) <= 1


async def test_errands_of_one_tenant_keep_their_order() -> None:
    turns, order = Turns(1), list[int]()

    async def work(number: int) -> None:
        async with turns.turn(errand("one")):
            await asyncio.sleep(0)
            order.append(number)

    await asyncio.gather(*(work(number) for number in range(20)))
    assert order == list(range(20))


async def test_who_leaves_the_line_leaves_no_place_taken() -> None:
    turns = Turns(1)
    async with turns.turn(errand("holder")):
        waiting = [asyncio.create_task(turns.turn(errand("gone")).__aenter__()) for _ in range(5)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    async with asyncio.timeout(5), turns.turn(errand("next")):
        pass


async def test_batch_work_takes_no_place_of_people() -> None:
    turns = Turns(2)
    batch = [turns.turn(errand("jobs", types_pb2.PRIORITY_BATCH)) for _ in range(2)]
    waiting = [asyncio.create_task(one.__aenter__()) for one in batch]
    await asyncio.sleep(0)
    async with asyncio.timeout(5), turns.turn(errand("a")), turns.turn(errand("b")):
        assert [task.done() for task in waiting] == [True, False]
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_batch_work_begins_one_at_a_time_while_a_person_is_served() -> None:
    turns = Turns(16)
    batch = [turns.turn(errand("jobs", types_pb2.PRIORITY_BATCH)) for _ in range(4)]
    async with turns.turn(errand("person")):
        waiting = [asyncio.create_task(one.__aenter__()) for one in batch]
        await asyncio.sleep(0)
        assert [task.done() for task in waiting] == [True, False, False, False]
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_everybody_is_served_once_and_nobody_twice_before_another_who_waits(tenants: list[str]) -> None:
    order = asyncio.run(served(tenants, {}))
    assert sorted(order) == sorted(tenants)
    for tenant in set(tenants):
        for other in set(tenants) - {tenant}:
            both = min(tenants.count(tenant), tenants.count(other))
            places = [i for i, name in enumerate(order) if name == tenant][:both]
            assert all(order[:place].count(other) >= n - 1 for n, place in enumerate(places))
