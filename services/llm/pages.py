"""The page table: who holds which pages of the cache, and which pages hold what whoever begins alike can use again.

Pages that were filled form a tree: a page's place in it is the row of keys from the beginning of a sequence to its end.
So equal beginnings are stored once, while they are in use and afterwards, until the room is needed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from weakref import WeakValueDictionary

PAGE = 16
"""Positions of a page."""

Keys = tuple[int, ...]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Page:
    """One page of the tree: what it holds, and how many sequences look at it."""

    number: int
    keys: Keys
    parent: Page | None
    users: int = 0
    children: dict[Keys, Page] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Table:
    """The pages of one sequence, in order."""

    root: Page = field(default_factory=lambda: Page(-1, (), None))
    numbers: list[int] = field(default_factory=list)
    shared: list[Page] = field(default_factory=list)
    """The leading pages that are in the tree."""
    copied: Page | None = None
    """The page whose beginning has to be copied into the first one that is not shared, before anything is fed."""

    @property
    def copy(self) -> tuple[int, int] | None:
        """Numbers of the page to copy from and to."""
        return (self.copied.number, self.numbers[len(self.shared)]) if self.copied else None


class PageTable:
    """All pages of the cache. What nobody uses is kept until its room is needed, longest unused first."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count - 1, -1, -1))
        self._idle: dict[Page, None] = {}
        """Pages of the tree that nobody uses, longest unused first; a page always comes before its parent."""
        self._roots: WeakValueDictionary[Hashable, Page] = WeakValueDictionary()
        """Of each kind that has pages."""

    @property
    def available(self) -> int:
        """Pages that can be had."""
        return len(self._free) + len(self._idle)

    def open(self, kind: Hashable, keys: Sequence[int]) -> tuple[Table, int]:
        """A table that begins with all that is known of `keys`, and the number of positions that need no feeding.

        Only sequences of one kind share: another adapter makes other keys and values of the same ids, and the time that
        a cached beginning saves would tell one tenant what another has asked.
        """
        table = Table(self._roots.setdefault(kind, Page(-1, (), None)))
        node, length = table.root, 0
        while len(keys) - length >= PAGE and (
            child := node.children.get(tuple(keys[length : length + PAGE]))
        ):
            self._use(child)
            table.shared.append(child)
            table.numbers.append(child.number)
            node, length = child, length + PAGE
        return table, length + self._begin(table, node, keys[length : length + PAGE])

    def extend(self, table: Table, length: int) -> bool:
        """Add pages up to `length` positions; False, and no change, when there are not enough."""
        missing = -(-length // PAGE) - len(table.numbers)
        if missing > self.available:
            return False
        table.numbers += [self._take() for _ in range(missing)]
        return True

    def record(self, table: Table, keys: Sequence[int], fed: int) -> None:
        """Positions up to `fed` are in the cache: full pages can be shared from now on."""
        self._forget_copy(table)
        while (len(table.shared) + 1) * PAGE <= fed:
            first = len(table.shared) * PAGE
            self._share(table, tuple(keys[first : first + PAGE]))

    def close(self, table: Table, keys: Sequence[int], fed: int) -> None:
        """Give all pages back; what was fed stays known while there is room."""
        if table.copied is None:
            self.record(table, keys, fed)
            if fed % PAGE:
                self._share(table, tuple(keys[fed - fed % PAGE : fed]))
        self._forget_copy(table)
        self._free += table.numbers[len(table.shared) :]
        for page in reversed(table.shared):
            self._leave(page)

    def _begin(self, table: Table, node: Page, keys: Sequence[int]) -> int:
        """Share the beginning of a page: its content is copied, for the rest will differ."""
        best = max(node.children.values(), key=lambda child: _common(child.keys, keys), default=None)
        length = _common(best.keys, keys) if best else 0
        if best is None or not length:
            return 0
        self._use(best)
        if not self.available:
            self._leave(best)
            return 0
        table.copied = best
        table.numbers.append(self._take())
        return length

    def _share(self, table: Table, keys: Keys) -> None:
        """Put the next page of a table into the tree; where the tree has it already, use that one."""
        place = len(table.shared)
        parent = table.shared[-1] if table.shared else table.root
        page = parent.children.get(keys)
        if page is None:
            page = parent.children[keys] = Page(table.numbers[place], keys, parent)
            page.users = 1
        else:
            self._use(page)
            self._free.append(table.numbers[place])
            table.numbers[place] = page.number
        table.shared.append(page)

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        page = next(iter(self._idle))
        del self._idle[page]
        assert page.parent is not None
        del page.parent.children[page.keys]
        return page.number

    def _use(self, page: Page) -> None:
        page.users += 1
        self._idle.pop(page, None)

    def _leave(self, page: Page) -> None:
        page.users -= 1
        if not page.users:
            self._idle[page] = None

    def _forget_copy(self, table: Table) -> None:
        if table.copied:
            self._leave(table.copied)
            table.copied = None


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    pairs = zip(one, other, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
