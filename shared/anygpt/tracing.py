"""Spans by W3C trace context: https://www.w3.org/TR/trace-context/. Off by default: then contexts only pass through."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from anygpt.bus import TRACE_HEADER
from anygpt.errors import AnyGPTError
from anygpt.settings import TraceSettings

RPC_TRACE: ContextVar[str] = ContextVar("rpc_trace", default="")
"""The context of the RPC that this task answers."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_PROPAGATOR = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a span belongs: the service that does the work, the context it continues, and what kind of hop it is."""

    service: str
    parent: str
    kind: SpanKind = SpanKind.INTERNAL


class Tracing:
    """The spans of one process, each under the name of its service. Without a processor there are none."""

    def __init__(self, processor: SpanProcessor | None = None, ratio: float = 1.0) -> None:
        self._processor = processor
        self._ratio = ratio
        self._tracers: dict[str, Tracer] = {}

    @contextmanager
    def span(self, name: str, place: Place, attributes: Mapping[str, str | int]) -> Iterator[str]:
        """One piece of work; gives the context to send on. An error of ours is told by its reason alone."""
        if self._processor is None:
            yield place.parent
            return
        context = _PROPAGATOR.extract({TRACE_HEADER: place.parent})
        span = self._tracer(place.service, self._processor).start_span(
            name, context, place.kind, dict(attributes)
        )
        try:
            yield _traceparent(span)
        except AnyGPTError as error:
            span.set_status(Status(StatusCode.ERROR, error.reason))
            raise
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Send what is left."""
        if self._processor is not None:
            self._processor.shutdown()

    def _tracer(self, service: str, processor: SpanProcessor) -> Tracer:
        if service not in self._tracers:
            resource = Resource.create({SERVICE_NAME: service})
            provider = TracerProvider(ParentBasedTraceIdRatio(self._ratio), resource, shutdown_on_exit=False)
            provider.add_span_processor(processor)
            self._tracers[service] = provider.get_tracer("anygpt")
        return self._tracers[service]


def open_tracing(settings: TraceSettings) -> Tracing:
    """Tracing to the OTLP endpoint of the settings; none: off."""
    if not settings.endpoint:
        return Tracing()
    exporter = OTLPSpanExporter(settings.endpoint, insecure=settings.endpoint.startswith("http://"))
    return Tracing(BatchSpanProcessor(exporter), settings.ratio)


def trace_id(traceparent: str) -> str:
    """The 32 hex digits that all spans of a trace share; empty for no context."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return found[1] if found else ""


def _traceparent(span: Span) -> str:
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier, set_span_in_context(span))
    return carrier[TRACE_HEADER]
