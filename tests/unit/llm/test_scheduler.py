"""The engine under any mix of finish, cancel, expiry and preemption, with a model that draws the first id it may."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anygpt.errors import AnyGPTError
from anygpt.lane import Lane
from anygpt.pack import open_pack
from anygpt.stage import Call, now_ms
from anygpt.topology import AUDIO, IMAGE, TEXT, Modality
from anygpt.v1 import types_pb2
from services.llm.engine import Engine
from services.llm.generation import Generation, Order
from services.llm.grammar import Rules, read_rules
from services.llm.pages import PAGE
from services.llm.prompt import Prompt
from services.llm.sampling import read_sampling
from services.llm.scheduler import Bounds
from services.llm.step import Fed, Feed
from services.llm.tokeniser import Tokeniser
from tests.tiny_pack import TEXT_SIZE

CONTEXT = 160
BOUNDS = Bounds(slots=4, rows=24, waiting=64, waiting_tokens=10_000, pages=CONTEXT // PAGE + 2)


@dataclass(frozen=True)
class Errand:
    """One request of the mix, and how it ends if not by itself."""

    prompt: int
    want: tuple[Modality, ...]
    batch: bool
    ending: str
    after: int
    """Responses until it is cancelled or abandoned."""


ERRANDS = st.builds(
    Errand,
    prompt=st.integers(1, 120),
    want=st.sampled_from([(TEXT,), (IMAGE,), (AUDIO, TEXT)]),
    batch=st.booleans(),
    ending=st.sampled_from(["itself", "itself", "cancel", "abandon", "deadline"]),
    after=st.integers(0, 5),
)


@dataclass
class FirstId:
    """Draws the first id of each choice; remembers what it was fed."""

    fed: Counter[int] = field(default_factory=Counter)

    def step(self, feeds: list[Feed]) -> list[Fed]:
        """Feed positions and draw tokens."""
        assert 0 < sum(len(feed.ids) for feed in feeds) <= BOUNDS.rows
        assert len(feeds) <= BOUNDS.slots
        return [self._one(feed) for feed in feeds]

    def _one(self, feed: Feed) -> Fed:
        assert len(feed.pages) * PAGE >= feed.start + len(feed.ids)
        assert len(set(feed.pages)) == len(feed.pages)
        self.fed[feed.pages[0]] += len(feed.ids)
        vectors = np.zeros((len(feed.signals), 4), np.float32) if feed.signals else None
        return Fed(feed.draw.choice.ranges[0][0] if feed.draw else None, vectors)


@pytest.fixture(scope="module")
def rules(pack: Path) -> tuple[Rules, Tokeniser]:
    tokeniser = Tokeniser(pack / "tokenizer" / "tokenizer.json", TEXT_SIZE)
    return read_rules(open_pack(str(pack)), tokeniser), tokeniser


def generation(errand: Errand, rules: Rules, tokeniser: Tokeniser) -> Generation:
    """The errand as the engine takes it."""
    order = Order(Prompt([7] * errand.prompt, {}), errand.want, read_sampling([], rules.outputs), 0)
    late = now_ms() + (1 if errand.ending == "deadline" else 60_000)
    priority = types_pb2.PRIORITY_BATCH if errand.batch else types_pb2.PRIORITY_INTERACTIVE
    call = Call(request_id="r", tenant="t", deadline_ms=late, priority=priority)
    return Generation(order, call, rules, tokeniser, CONTEXT)


async def run(engine: Engine, one: Generation, errand: Errand) -> str:
    """How the errand ended."""
    responses = engine.generate(one)
    count = 0
    try:
        async for _ in responses:
            count += 1
            if errand.ending == "cancel" and count > errand.after:
                one.call.cancel()
            if errand.ending == "abandon" and count > errand.after:
                await responses.aclose()
                return "abandoned"
    except AnyGPTError as error:
        return error.reason
    return "finished"


async def run_all(errands: list[Errand], rules: Rules, tokeniser: Tokeniser) -> tuple[Engine, list[str]]:
    """All errands at once, each to its end, on a fresh engine."""
    lane = Lane("test")
    engine = Engine(FirstId(), lane, BOUNDS)
    engine.start()
    ones = [generation(errand, rules, tokeniser) for errand in errands]
    ends = await asyncio.gather(*(run(engine, *pair) for pair in zip(ones, errands, strict=True)))
    while engine.scheduler.running or engine.scheduler.waiting:
        await asyncio.sleep(0)
    await engine.close()
    lane.close()
    return engine, list(ends)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(errands=st.lists(ERRANDS, min_size=1, max_size=12))
def test_every_request_ends_and_no_page_is_leaked(
    rules: tuple[Rules, Tokeniser], errands: list[Errand]
) -> None:
    engine, ends = asyncio.run(run_all(errands, *rules))
    assert len(ends) == len(errands)
    assert all(end == "finished" for end, one in zip(ends, errands, strict=True) if one.ending == "itself")
    assert engine.scheduler.pages.available == BOUNDS.pages
    assert engine.scheduler.free_slots == BOUNDS.slots


def test_preemption_is_part_of_the_mix(rules: tuple[Rules, Tokeniser]) -> None:
    errands = [Errand(60 + n, (AUDIO, TEXT), n % 2 == 0, "itself", 0) for n in range(4)]
    engine, ends = asyncio.run(run_all(errands, *rules))
    assert ends == ["finished"] * 4
    assert engine.scheduler.preemptions > 0


def test_a_thousand_aborts_leave_memory_where_it_was(rules: tuple[Rules, Tokeniser]) -> None:
    errands = [Errand(20 + n % 40, (AUDIO, TEXT), False, "abandon", n % 4) for n in range(50)]
    for _ in range(20):
        engine, ends = asyncio.run(run_all(errands, *rules))
        assert ends == ["abandoned"] * len(errands)
        assert engine.scheduler.pages.available == BOUNDS.pages
    del engine
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one) is Generation]
