"""Pages of things whose ids begin with the time of their making."""

from __future__ import annotations

from collections.abc import Iterable

from anygpt.identity import new_id
from anygpt.stage import now_ms

PAGE_SIZE = 100
MOST = 1000


def new_dated_id() -> str:
    """An id that sorts by age among its like."""
    return f"{now_ms():012x}{new_id()}"


def page_of(ids: Iterable[str], size: int, token: str) -> tuple[list[str], str]:
    """One page, newest first, and the token of the next: the last id of this one, empty at the end."""
    left = [each for each in sorted(ids, reverse=True) if not token or each < token]
    page = left[: min(size, MOST) or PAGE_SIZE]
    return page, page[-1] if len(left) > len(page) else ""
