"""Lays the feeds of a step out as rows: in shapes that repeat, so that kernels are chosen once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from services.llm.model.cache import Cache
from services.llm.model.llama import Group, Rows
from services.llm.model.updates import Updates
from services.llm.pages import PAGE
from services.llm.step import Feed

STEP = 32
"""Row counts above it are rounded up to its multiples; below, to powers of two."""


class Packing:
    """For speed: as few rows as the feeds need, and one attention call for all that feed a single row."""

    def __init__(self, cache: Cache, rows: int, dtype: torch.dtype, device: torch.device) -> None:
        self._spare = cache.spare
        self._rows = rows
        self._dtype = dtype
        self._device = device

    @property
    def shapes(self) -> list[int]:
        """All row counts that a step can have."""
        return sorted({self.shape(count) for count in range(1, self._rows + 1)})

    def shape(self, count: int) -> int:
        """The row count that `count` rows are padded to."""
        if count > STEP:
            return -(-count // STEP) * STEP
        return 1 << (count - 1).bit_length()

    def pack(self, feeds: Sequence[Feed], adapters: Mapping[str, Updates]) -> Rows:
        """Lay out the feeds, those of a single row first, as the scheduler orders them."""
        positions = [feed.start + offset for feed in feeds for offset in range(len(feed.ids))]
        places = [
            feed.pages[place // PAGE] * PAGE + place % PAGE
            for feed in feeds
            for place in range(feed.start, feed.start + len(feed.ids))
        ]
        extra = self.shape(len(positions)) - len(positions)
        groups = self._groups(feeds)
        if extra:
            groups.append(self._padding(len(positions), extra))
        return Rows(
            self._tensor(positions + [0] * extra),
            self._tensor(places + [self._spare * PAGE] * extra),
            groups,
            self._updates(feeds, adapters),
        )

    def _groups(self, feeds: Sequence[Feed]) -> list[Group]:
        single = [feed for feed in feeds if len(feed.ids) == 1]
        groups = [self._decode(single)] if single else []
        first = len(single)
        for feed in feeds[len(single) :]:
            groups.append(self._chunk(feed, first))
            first += len(feed.ids)
        return groups

    def _decode(self, feeds: Sequence[Feed]) -> Group:
        count = len(feeds)
        length = max(feed.start for feed in feeds) + 1
        last = self._tensor([feed.start for feed in feeds])
        mask = self._mask(last, length).view(count, 1, 1, length) if count > 1 else None
        return Group(slice(0, count), self._pages(feeds, length), length, (count, 1), mask)

    def _chunk(self, feed: Feed, first: int) -> Group:
        count = len(feed.ids)
        length = feed.start + count
        last = torch.arange(feed.start, length, device=self._device)
        mask = self._mask(last, length).view(1, 1, count, length)
        return Group(slice(first, first + count), self._pages([feed], length), length, (1, count), mask)

    def _padding(self, first: int, count: int) -> Group:
        return Group(slice(first, first + count), self._tensor([[self._spare]]), 1, (1, count), None)

    def _updates(
        self, feeds: Sequence[Feed], adapters: Mapping[str, Updates]
    ) -> list[tuple[Updates, torch.Tensor]]:
        names = [feed.adapter for feed in feeds for _ in feed.ids]
        return [
            (adapters[name], self._tensor([row for row, one in enumerate(names) if one == name]))
            for name in sorted({name for name in names if name})
        ]

    def _pages(self, feeds: Sequence[Feed], length: int) -> torch.Tensor:
        count = -(-length // PAGE)
        tables = [list(feed.pages[:count]) for feed in feeds]
        return self._tensor([table + [self._spare] * (count - len(table)) for table in tables])

    def _mask(self, last: torch.Tensor, length: int) -> torch.Tensor:
        """Additive mask [n, length]: row i sees positions up to last[i]."""
        hidden = torch.arange(length, device=self._device) > last.unsqueeze(1)
        return torch.zeros(hidden.shape, dtype=self._dtype, device=self._device).masked_fill_(
            hidden, -torch.inf
        )

    def _tensor(self, values: Sequence[int] | Sequence[Sequence[int]]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=self._device)


class FixedPacking(Packing):
    """For equality to the bit: always the same number of rows, and each row attends by itself in a fixed shape.

    So a row's numbers depend on its own sequence alone, whoever else is in the step and however a prompt is cut.
    """

    LENGTH = 128
    """A row attends to its positions rounded up to this."""
    QUERIES = 8
    """Query rows are padded to a multiple of this: kernels choose by the alignment of their scratch memory."""

    @property
    def shapes(self) -> list[int]:
        """The only row count."""
        return [self._rows]

    def shape(self, count: int) -> int:
        """Always the same."""
        return self._rows

    def _groups(self, feeds: Sequence[Feed]) -> list[Group]:
        groups: list[Group] = []
        first = 0
        for feed in feeds:
            start, stop = feed.start, feed.start + len(feed.ids)
            while start < stop:
                end = min(stop, (start // self.LENGTH + 1) * self.LENGTH)
                groups.append(self._alone(feed, first, start, end))
                first, start = first + end - start, end
        return groups

    def _alone(self, feed: Feed, first: int, start: int, end: int) -> Group:
        count = end - start
        length = -(-end // self.LENGTH) * self.LENGTH
        mask = self._mask(torch.arange(start, end, device=self._device), length).view(count, 1, 1, length)
        pages = self._pages([feed], length)
        return Group(slice(first, first + count), pages, length, (count, 1), mask, self.QUERIES)
