"""The page table under any mix of comings and goings: nothing is lost, and what is shared is right."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.llm.pages import PAGE, PageTable, Table

COUNT = 12
KEYS = st.lists(st.integers(0, 1), min_size=1, max_size=5 * PAGE)


@dataclass
class Sequence:
    """What a test knows of one sequence."""

    keys: list[int]
    table: Table
    fed: int
    kind: str
    own: list[int] = field(default_factory=list)


class PageMachine(RuleBasedStateMachine):
    """Sequences that open, are fed and close; `content` is what a model would have written into each page."""

    def __init__(self) -> None:
        super().__init__()
        self.pages = PageTable(COUNT)
        self.content: dict[int, list[tuple[str, tuple[int, ...]] | None]] = {
            number: [None] * PAGE for number in range(COUNT)
        }
        self.running: list[Sequence] = []

    @rule(keys=KEYS, kind=st.sampled_from(["", "other"]))
    def open(self, keys: list[int], kind: str) -> None:
        table, known = self.pages.open(kind, keys[:-1])
        assert known < len(keys)
        self.running.append(Sequence(keys, table, known, kind))

    @rule(which=st.integers(0, 9), most=st.integers(1, 3 * PAGE))
    def feed(self, which: int, most: int) -> None:
        if not self.running:
            return
        one = self.running[which % len(self.running)]
        stop = min(len(one.keys), one.fed + most)
        before = list(one.table.numbers)
        if not self.pages.extend(one.table, stop):
            assert one.table.numbers == before
            return
        if one.table.copy:
            source, target = one.table.copy
            self.content[target] = list(self.content[source])
        for place in range(one.fed, stop):
            number = one.table.numbers[place // PAGE]
            self.content[number][place % PAGE] = (one.kind, tuple(one.keys[: place + 1]))
        one.fed = stop
        self.pages.record(one.table, one.keys, stop)
        for place in range(stop):
            written = self.content[one.table.numbers[place // PAGE]][place % PAGE]
            assert written == (one.kind, tuple(one.keys[: place + 1]))

    @rule(which=st.integers(0, 9))
    def close(self, which: int) -> None:
        if self.running:
            one = self.running.pop(which % len(self.running))
            self.pages.close(one.table, one.keys, one.fed)

    @invariant()
    def no_page_is_held_by_two_that_do_not_share_it(self) -> None:
        own = [n for one in self.running for n in one.table.numbers[len(one.table.shared) :]]
        shared = {page.number for one in self.running for page in one.table.shared}
        shared |= {one.table.copied.number for one in self.running if one.table.copied}
        assert len(own) == len(set(own))
        assert not shared & set(own)
        assert self.pages.available == COUNT - len(own) - len(shared)

    def teardown(self) -> None:
        for one in self.running:
            self.pages.close(one.table, one.keys, one.fed)
        assert self.pages.available == COUNT


TestPageTable = PageMachine.TestCase
TestPageTable.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_second_turn_finds_the_whole_first_one() -> None:
    pages = PageTable(8)
    first = list(range(40))
    table, known = pages.open("", first[:-1])
    assert (known, pages.extend(table, 40)) == (0, True)
    pages.record(table, first, 40)
    pages.close(table, first, 40)
    _, known = pages.open("", [*first, 50, 51])
    assert known == 40


def test_a_beginning_is_shared_while_the_first_still_runs() -> None:
    pages = PageTable(8)
    keys = list(range(40))
    table, _ = pages.open("", keys[:-1])
    pages.extend(table, 40)
    pages.record(table, keys, 40)
    other, known = pages.open("", keys[:-1])
    assert known == 2 * PAGE
    assert other.numbers == table.numbers[:2]


def test_a_kind_without_pages_is_forgotten() -> None:
    pages = PageTable(4)
    for number in range(50):
        table, _ = pages.open(("tenant", number), list(range(40)))
        assert pages.extend(table, 41)
        pages.close(table, list(range(41)), 41)
    del table
    assert len(pages._roots) <= 2


def test_another_adapter_shares_nothing() -> None:
    pages = PageTable(8)
    keys = list(range(40))
    table, _ = pages.open("one", keys[:-1])
    pages.extend(table, 40)
    pages.close(table, keys, 40)
    assert pages.open("other", keys[:-1])[1] == 0
