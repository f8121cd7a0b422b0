"""Parameters part by part: how many, whether they are trained, and their share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.table import Table
from torch import nn


@dataclass(frozen=True)
class Row:
    """One part's parameters, and whether they are trained."""

    part: str
    count: int
    trained: bool = True


def trained_rows(model: nn.Module) -> list[Row]:
    """A model in training, by its first level of parts."""
    return [
        Row(name, count, trained) for name, part in model.named_children() for count, trained in _counts(part)
    ]


def table(title: str, rows: Sequence[Row]) -> Table:
    """Rows for a terminal, the trained share below them."""
    found = Table("part", "parameters", "trained", title=title)
    for row in rows:
        found.add_row(row.part, f"{row.count:,}", "yes" if row.trained else "no")
    trained, total = sum(row.count for row in rows if row.trained), sum(row.count for row in rows)
    found.add_section()
    found.add_row("trained in all", f"{trained:,}", f"{trained / max(total, 1):.2%}")
    return found


def _counts(part: nn.Module) -> Iterator[tuple[int, bool]]:
    for trained in (True, False):
        count = sum(weight.numel() for weight in part.parameters() if weight.requires_grad is trained)
        if count:
            yield count, trained
