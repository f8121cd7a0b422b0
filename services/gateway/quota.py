"""Quotas: whether there is room for one more request, in total, for its tenant, and at every stage that it may need.

A tenant may take a part of what is free, not of what there is (dynamic thresholds: Choudhury, Hahne, 1998): one alone
gets `tenant_part` of everything, and what it leaves lets the next one in at once; when many compete they are equal by
their shares.
"""

from __future__ import annotations

from collections.abc import Iterable

from anygpt import topology
from anygpt.errors import Exhausted
from anygpt.stage import Call
from anygpt.v1 import bus_pb2
from services.gateway.ledger import REQUESTS, TOKENS, Entry, Ledger, entry_of
from services.gateway.load import Load
from services.gateway.settings import Settings

BATCH_SHARE = 0.25
"""Weight of a tenant's batch work beside its interactive work."""
DEADLINE_PART = 0.5
"""A request is admitted if its answer can be expected within this part of the time that its client gives it."""
LEAST_RETRY_MS = 100
RETRY_MS = 500
MOST_RETRY_MS = 30_000


class Quota:
    """Enters admitted requests into the ledger. Raises Exhausted, with a delay, for those that find no room."""

    def __init__(
        self, settings: Settings, ledger: Ledger, load: Load, outputs: Iterable[topology.Modality]
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._load = load
        self._outputs = tuple(outputs)
        self._totals = {REQUESTS: settings.running_requests, TOKENS: settings.running_tokens}
        self._part = settings.tenant_part / (1 - settings.tenant_part)

    def look(self, call: Call) -> None:
        """Refuse at once, before any work, what would find no room or would be answered too late."""
        self._ledger.forget_overdue()
        self._check((call.tenant, call.is_batch), [(REQUESTS, 1)])
        if call.is_batch:
            return
        late_ms = self._ledger.expected_ms() - 1000 * call.left_s * DEADLINE_PART
        if late_ms > 0:
            message = "the deadline would pass before the answer: too many are waiting"
            raise Exhausted(message, reason="SYSTEM_BUSY", retry_after_ms=_bounded(late_ms))
        self._ledger.arrive(call.request_id)

    def reserve(self, request_id: str, accepted: bus_pb2.Accepted) -> None:
        """Enter a request into the ledger, and close to it the modalities it may do without and finds full."""
        wished = entry_of(accepted, self._outputs)
        if not accepted.request.want:
            accepted.closed.extend(m for m in self._outputs if self._is_closed(m, wished))
        entry = entry_of(accepted, self._outputs)
        self._check(entry.party, entry.amounts())
        self._ledger.enter(request_id, entry)

    def release(self, request_id: str) -> None:
        """Take back a reservation that became no request."""
        self._ledger.leave(request_id)

    def _is_closed(self, modality: topology.Modality, entry: Entry) -> bool:
        if modality not in topology.DECODERS:
            return False
        stage = topology.DECODERS[modality].name
        if self._load.capacity(stage) == 0:
            return True
        try:
            self._check(entry.party, [(stage, 1)])
        except Exhausted:
            return True
        return False

    def _check(self, party: tuple[str, bool], amounts: Iterable[tuple[str, int]]) -> None:
        for resource, amount in amounts:
            total = self._total(resource)
            used = self._used(resource)
            if total is None or not used:
                continue
            if used + amount > total:
                raise self._exhausted("SYSTEM_FULL", f"no room for more {resource}", 1.0)
            own = self._ledger.used_by(party, resource)
            if own and own + amount > self._part * self._weight(party) * (total - used):
                raise self._exhausted("TENANT_FULL", f"the tenant has its share of {resource}", used / own)

    def _total(self, resource: str) -> int | None:
        """How much there is; None where nothing bounds it but the totals."""
        if resource in self._totals:
            return self._totals[resource]
        capacity = self._load.capacity(resource)
        return capacity * (1 + self._settings.stage_backlog) if capacity else None

    def _used(self, resource: str) -> int:
        used = self._ledger.used(resource)
        return used if resource in self._totals else max(used, self._load.busy(resource))

    def _weight(self, party: tuple[str, bool]) -> float:
        tenant, is_batch = party
        return self._settings.limits.shares.get(tenant, 1.0) * (BATCH_SHARE if is_batch else 1.0)

    def _exhausted(self, reason: str, message: str, endings: float) -> Exhausted:
        """`endings`: how many requests end, on the average, until one of the caller's does."""
        wait_ms = self._ledger.interval_ms() * endings or RETRY_MS
        return Exhausted(message, reason=reason, retry_after_ms=_bounded(wait_ms))


def _bounded(delay_ms: float) -> int:
    return round(min(max(delay_ms, LEAST_RETRY_MS), MOST_RETRY_MS))
