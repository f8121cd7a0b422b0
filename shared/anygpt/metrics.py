"""Names and meanings of what Prometheus sees: one list for services, dashboards, alerts and benchmarks."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, start_http_server

PREFIX = "anygpt_"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_STEP_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)

QUEUE_SECONDS = Histogram(
    "anygpt_stage_queue_seconds", "From publishing work to its beginning.", ["stage"], buckets=_SECONDS
)
STAGE_RUNNING = Gauge("anygpt_stage_running", "Errands that a stage works on.", ["stage"])
STAGE_WAITING = Gauge("anygpt_stage_waiting", "Errands that a stage has taken and not begun.", ["stage"])
STAGE_SECONDS = Histogram(
    "anygpt_stage_seconds", "Time of an errand at a stage, queue excluded.", ["stage"], buckets=_SECONDS
)
STAGE_ERRANDS = Counter("anygpt_stage_errands", "Errands that a stage has ended.", ["stage", "outcome"])
STEP_SECONDS = Histogram(
    "anygpt_step_seconds", "One step on a device: an encode, a decode step, a denoise step.", ["stage"],
    buckets=_STEP_SECONDS,
)  # fmt: skip
STEP_WAIT_SECONDS = Histogram(
    "anygpt_step_wait_seconds", "How long a step waits for its device.", ["stage"], buckets=_STEP_SECONDS
)
BATCH_SIZE = Histogram("anygpt_batch_size", "Requests that share one step.", ["stage"], buckets=_SIZES)
CANCEL_SECONDS = Histogram(
    "anygpt_cancel_seconds", "From hearing of a cancel to the end of the work.", ["stage"], buckets=_SECONDS
)
DEAD_LETTERS = Counter("anygpt_dead_letters", "Records that a stage could not handle.", ["stage"])

REQUESTS = Counter("anygpt_requests", "Requests by their terminal event.", ["outcome"])
REQUESTS_RUNNING = Gauge("anygpt_requests_running", "Streams under way at this gateway.")
REFUSALS = Counter("anygpt_refusals", "Calls that ended with an error status.", ["rpc", "reason"])
RPC_SECONDS = Histogram("anygpt_rpc_seconds", "Time of a call.", ["rpc"], buckets=_SECONDS)
TOKENS = Counter("anygpt_tokens", "Tokens of ended requests: prompt, cached, generated.", ["kind"])

MEDIA_SECONDS = Histogram(
    "anygpt_media_seconds", "Reading one media file, by what came of it.", ["outcome"], buckets=_SECONDS
)
CONTENT_REFUSALS = Counter("anygpt_content_refusals", "Content that the guard refused.", ["direction"])


def serve_metrics(port: int) -> None:
    """Serve the metrics over HTTP; -1: do not."""
    if port >= 0:
        start_http_server(port)
