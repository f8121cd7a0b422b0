"""What a load showed: percentiles, throughput, and goodput, the rate of answers that were good enough."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from anygpt.bench_trace import REFUSED, Trace
from anygpt.errors import InvalidInput

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True, slots=True)
class Slo:
    """What a good answer keeps to, in seconds from the intended send time; what is not set is not asked for."""

    text: float | None = None
    """The first text."""
    gap: float | None = None
    """The longest gap between two pieces of a span."""
    playable: float | None = None
    """The first piece of sound."""
    total: float | None = None

    @classmethod
    def parse(cls, text: str) -> Slo:
        """Read `total=5,text=0.5`. Raises InvalidInput."""
        names = {each.name for each in fields(cls)}
        given = dict(entry.partition("=")[::2] for entry in filter(None, text.split(",")))
        try:
            if given.keys() <= names:
                return cls(**{name: float(value) for name, value in given.items()})
        except ValueError:
            pass
        raise InvalidInput(f"an SLO is NAME=SECONDS of {', '.join(sorted(names))}", field="--slo")

    def holds(self, trace: Trace) -> bool:
        """Whether the answer is whole, breaks no promise and was quick enough."""
        measured = {
            "text": _since_due(trace, trace.first_text_s),
            "gap": max(trace.gaps_s, default=None),
            "playable": _since_due(trace, trace.first_playable_s),
            "total": trace.total_s,
        }
        asked = {name: getattr(self, name) for name in measured}
        return (
            trace.is_finished
            and not trace.breaches
            and all(
                limit is None or value is None or value <= limit
                for value, limit in zip(measured.values(), asked.values(), strict=True)
            )
        )


def report(traces: Sequence[Trace], slo: Slo) -> dict[str, Any]:
    """The figures of a run, ready for JSON; times in milliseconds."""
    first_s = min((trace.due_s for trace in traces), default=0.0)
    seconds = max((trace.ended_s for trace in traces), default=0.0) - first_s
    offered_s = max((trace.due_s for trace in traces), default=0.0) - first_s
    finished = [trace for trace in traces if trace.is_finished]
    good = sum(slo.holds(trace) for trace in traces)
    return {
        "requests": len(traces),
        "seconds": round(seconds, 3),
        "offered_per_s": _rate(len(traces) - 1, offered_s),
        "finished_per_s": _rate(len(finished), seconds),
        "good": good,
        "goodput_per_s": _rate(good, seconds),
        "outcomes": dict(Counter(trace.outcome for trace in traces)),
        "reasons": dict(Counter(trace.reason for trace in traces if trace.reason)),
        "breaches": dict(Counter(breach for trace in traces for breach in trace.breaches)),
        "restarts": sum(trace.restarts for trace in traces),
        "first_text_ms": spread([_since_due(trace, trace.first_text_s) for trace in finished]),
        "first_playable_ms": spread([_since_due(trace, trace.first_playable_s) for trace in finished]),
        "gap_ms": spread([gap for trace in finished for gap in trace.gaps_s]),
        "total_ms": spread([trace.total_s for trace in finished]),
        "refused_ms": spread([trace.total_s for trace in traces if trace.outcome == REFUSED]),
    }


def spread(seconds: Sequence[float | None]) -> dict[str, float]:
    """Percentiles of what was measured, in milliseconds; empty without any."""
    known = sorted(1000 * value for value in seconds if value is not None)
    if not known:
        return {}
    return {f"p{share}": round(percentile(known, share), 1) for share in PERCENTILES} | {
        "max": round(known[-1], 1)
    }


def percentile(values: Sequence[float], share: int) -> float:
    """The value that `share` per cent of the values do not exceed."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def _since_due(trace: Trace, at_s: float | None) -> float | None:
    return None if at_s is None else at_s - trace.due_s


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 3) if seconds > 0 else 0.0
