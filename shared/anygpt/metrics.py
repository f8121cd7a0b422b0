"""Names and meanings of what Prometheus sees: one list for services, dashboards and benchmarks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge, Histogram, start_http_server

STAGE_RUNNING = Gauge("anygpt_stage_running", "Errands that a stage works on.", ["stage"])
STAGE_SECONDS = Histogram("anygpt_stage_seconds", "Time of an errand at a stage, queue excluded.", ["stage"])
STAGE_ERRANDS = Counter("anygpt_stage_errands", "Errands that a stage has ended.", ["stage", "outcome"])
DEAD_LETTERS = Counter("anygpt_dead_letters", "Records that a stage could not handle.", ["stage"])
REQUESTS = Counter("anygpt_requests", "Requests by their terminal event.", ["outcome"])
REQUESTS_RUNNING = Gauge("anygpt_requests_running", "Requests without a terminal event at this gateway.")
REFUSALS = Counter("anygpt_refusals", "Requests refused before they started.", ["reason"])
FIRST_EVENT_SECONDS = Histogram("anygpt_first_text_seconds", "From admission to the first text delta.")


class StageMetrics:
    """The metrics of one stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    @contextmanager
    def errand(self) -> Iterator[None]:
        """Count and time one errand."""
        started = time.perf_counter()
        STAGE_RUNNING.labels(self._stage).inc()
        outcome = "failed"
        try:
            yield
            outcome = "finished"
        finally:
            STAGE_RUNNING.labels(self._stage).dec()
            STAGE_SECONDS.labels(self._stage).observe(time.perf_counter() - started)
            STAGE_ERRANDS.labels(self._stage, outcome).inc()

    def dead_letter(self) -> None:
        """Count one record that could not be handled."""
        DEAD_LETTERS.labels(self._stage).inc()


def serve_metrics(port: int) -> None:
    """Serve the metrics over HTTP; -1: do not."""
    if port >= 0:
        start_http_server(port)
