"""The picture of a run: latency over the time of sending, and its distribution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from anygpt.bench_report import Slo
from anygpt.bench_trace import Trace


def plot(traces: Sequence[Trace], slo: Slo, path: Path) -> None:
    """Draw the whole run into a file; its extension names the format."""
    from matplotlib.figure import Figure  # only who plots needs matplotlib

    ended = sorted((trace for trace in traces if trace.is_finished), key=lambda trace: trace.due_s)
    others = [trace for trace in traces if not trace.is_finished]
    figure = Figure(figsize=(10, 4), layout="constrained")
    over_time, distribution = figure.subplots(1, 2)
    over_time.plot([t.due_s for t in ended], [t.total_s for t in ended], ".", label="whole answer")
    texts = [t for t in ended if t.first_text_s is not None]
    over_time.plot(
        [t.due_s for t in texts], [(t.first_text_s or 0.0) - t.due_s for t in texts], ".", label="first text"
    )
    over_time.plot([t.due_s for t in others], [t.total_s for t in others], "x", label="no answer")
    over_time.set(xlabel="sent at, s", ylabel="latency, s", yscale="log")
    shares = [(i + 1) / len(ended) for i in range(len(ended))]
    distribution.plot(sorted(t.total_s for t in ended), shares)
    if slo.total is not None:
        distribution.axvline(slo.total, linestyle="--")
    distribution.set(xlabel="whole answer, s", ylabel="share of answers", ylim=(0, 1))
    over_time.legend()
    for axes in (over_time, distribution):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
