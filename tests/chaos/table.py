"""The table of storms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from tests.chaos.storm import Row

COLUMNS = (
    "fault", "requests", "hit", "finished", "failed", "lost", "repeated", "wrong", "restarts", "p95 s", "max s",
)  # fmt: skip


def storm_table(rows: Sequence[Row]) -> Table:
    """One line for each storm, and their sum."""
    made = Table(*COLUMNS, title="storms")
    for row in rows:
        told = as_dict(row)
        made.add_row(*(_shown(told[column]) for column in COLUMNS))
    sums = {name: sum(as_dict(row)[name] for row in rows) for name in COLUMNS if name in _COUNTED}
    made.add_section()
    made.add_row(*(str(sums.get(column, "")) for column in COLUMNS))
    return made


_COUNTED = ("requests", "finished", "lost", "repeated", "restarts")


def as_dict(row: Row) -> dict[str, Any]:
    """A storm as JSON."""
    return {
        "fault": row.fault,
        "requests": len(row.traces),
        "hit": dict(row.phases),
        "finished": sum(trace.is_finished for trace in row.traces),
        "failed": dict(row.failures),
        "lost": row.lost,
        "repeated": row.breaches.total(),
        "broken": dict(row.breaches),
        "wrong": len(row.wrong),
        "restarts": sum(trace.restarts for trace in row.traces),
        "p95 s": round(row.recovery_p95_s, 2),
        "max s": round(max(row.recoveries_s, default=0.0), 2),
    }


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{count} {name}" for name, count in Counter(value).items())
    return str(value)
