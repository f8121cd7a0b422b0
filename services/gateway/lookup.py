"""Looking a request up in the journal: its records, and when their absence means that there is no such request."""

from __future__ import annotations

import asyncio
import time

from anygpt import topology
from anygpt.attempts import journal_begin_ms
from anygpt.bus import Bus, Follower, Record
from anygpt.errors import OutOfRange, Unavailable
from anygpt.identity import request_time_ms
from anygpt.stage import now_ms

FIRST_RECORD_S = 3.0
"""How long a young request's first record may take to appear before there is no such request."""
YOUNG_MS = 60_000
"""A request whose id is older has been admitted or refused for long."""
OLD_RECORD_S = 0.3
"""How long is waited for the first record of such a one, after all that stands there was read."""
SILENT_S = 10.0
"""A journal of which nothing can be read for so long is away."""
TICK_S = 0.1
RETRY_MS = 200


def journal_of(bus: Bus, request_id: str) -> Follower:
    """The partition of a request from where it may begin on. Raises OutOfRange when that is no longer kept."""
    if request_time_ms(request_id) < now_ms() - topology.TOPICS[topology.REPLIES].retention_ms:
        raise OutOfRange("the request is older than what is kept", field="request_id")
    return bus.follow(topology.REPLIES, key=request_id, since_ms=journal_begin_ms(request_id))


def first_record_s(request_id: str) -> float:
    """How long to wait for a request's first record; its id tells how old it is."""
    is_young = abs(now_ms() - request_time_ms(request_id)) < YOUNG_MS
    return FIRST_RECORD_S if is_young else OLD_RECORD_S


async def next_record(records: Follower, request_id: str, quiet_s: float | None = None) -> Record | None:
    """The request's next record; None when there is none for `quiet_s` after all that stood there was read.

    Other requests' records are passed over and prolong nothing. Raises Unavailable when the journal does not answer.
    """
    heard_at = time.monotonic()
    current_at: float | None = None
    while True:
        try:
            async with asyncio.timeout(None if quiet_s is None else TICK_S):
                record = await anext(records)
        except StopAsyncIteration:
            raise draining() from None
        except TimeoutError:
            pass
        else:
            heard_at = time.monotonic()
            if record.key == request_id:
                return record
        if quiet_s is None:
            continue
        now = time.monotonic()
        if current_at is None and records.is_current:
            current_at = now
        if current_at is not None and now - current_at >= quiet_s:
            return None
        if current_at is None and now - heard_at >= SILENT_S:
            raise Unavailable("the journal does not answer", retry_after_ms=RETRY_MS)


def draining() -> Unavailable:
    """What a client is told whose stream ends because its replica does."""
    return Unavailable("this replica stops", reason="DRAINING", retry_after_ms=RETRY_MS)
