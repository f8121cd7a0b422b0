"""The picture of a run: latency over the time of sending, and how each kind of latency is distributed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from anygpt.bench_report import Slo
from anygpt.bench_trace import Trace
from anygpt.errors import InvalidInput

MOMENTS: Mapping[str, Callable[[Trace], float | None]] = {
    "whole answer": lambda trace: trace.ended_s,
    "first text": lambda trace: trace.first_text_s,
    "first playable sound": lambda trace: trace.first_playable_s,
}
"""What latency is counted to, from the intended send time; a run may have none of it."""


def check_picture(path: Path) -> None:
    """Raise InvalidInput unless a picture can be drawn into that file, before a load is spent on it."""
    from matplotlib.figure import Figure  # only who plots needs matplotlib

    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in formats:
        raise InvalidInput(f"a picture is one of {', '.join(sorted(formats))}", field="--plot")


def plot(traces: Sequence[Trace], slo: Slo, path: Path) -> None:
    """Draw the whole run into a file; its extension names the format."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    over_time, distribution = figure.subplots(1, 2)
    finished = [trace for trace in traces if trace.is_finished]
    limits = {"whole answer": slo.total, "first text": slo.text, "first playable sound": slo.playable}
    for name, moment in MOMENTS.items():
        told = [(t.due_s, at_s - t.due_s) for t in finished if (at_s := moment(t)) is not None]
        if told:
            (line,) = over_time.plot(*zip(*told, strict=True), ".", label=name)
            _draw_shares(distribution, sorted(late for _, late in told), line.get_color(), limits[name])
    others = [trace for trace in traces if not trace.is_finished]
    if others:
        over_time.plot([t.due_s for t in others], [t.total_s for t in others], "rx", label="no answer")
    over_time.set(xlabel="sent at, s", ylabel="latency, s", yscale="log")
    distribution.set(
        xlabel="latency, s (dashed: the SLO)", ylabel="share of answers", ylim=(0, 1), xscale="log"
    )
    figure.legend(*over_time.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.suptitle(f"{len(finished)} of {len(traces)} answered", x=0.02, ha="left", fontsize="medium")
    for axes in (over_time, distribution):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def _draw_shares(axes: Any, latencies_s: Sequence[float], colour: Any, limit_s: float | None) -> None:
    axes.plot(latencies_s, [(i + 1) / len(latencies_s) for i in range(len(latencies_s))], color=colour)
    if limit_s is not None:
        axes.axvline(limit_s, linestyle="--", color=colour)
