"""One trace shows every hop of a request, in whichever process it happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent import futures
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from anygpt import topology
from anygpt.client import AsyncClient, Options, image
from anygpt.errors import AnyGPTError
from anygpt.main import Runtime
from anygpt.tracing import Tracing, trace_id
from anygpt.v1 import anygpt_service_pb2, anygpt_service_pb2_grpc, types_pb2
from tests.flow.conftest import PlainService
from tests.flow.inside import inside
from tests.flow.media import picture
from tests.servers.service import Backends

GENERATE = "anygpt.v1.AnyGPTService/Generate"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
OF_A_PICTURE = {
    GENERATE: "the caller",
    "image_encoder": GENERATE,
    "llm": GENERATE,
    "image_decoder": "llm",
    "speech_decoder": "llm",
}


def tree(spans: Sequence[ReadableSpan]) -> dict[str, str]:
    """Each span's name with its parent's; a parent that is not among them is the caller."""
    names = {span.context.span_id: span.name for span in spans if span.context}
    return {span.name: names.get(span.parent.span_id if span.parent else 0, "the caller") for span in spans}


@pytest.fixture
async def traced(plain_pack: Path, tmp_path: Path) -> AsyncIterator[tuple[str, InMemorySpanExporter]]:
    """The embedded system with its spans in memory."""
    exporter = InMemorySpanExporter()

    def trace(runtime: Runtime) -> None:
        runtime.tracing = Tracing(SimpleSpanProcessor(exporter))

    async with inside(plain_pack, tmp_path, trace) as (address, _):
        yield address, exporter


async def generate(
    address: str, request: anygpt_service_pb2.GenerateRequest, *metadata: tuple[str, str]
) -> None:
    """A call as any language would make it."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = anygpt_service_pb2_grpc.AnyGPTServiceStub(channel)
        async for _ in stub.Generate(request, metadata=metadata):
            pass


def picture_request() -> anygpt_service_pb2.GenerateRequest:
    """A picture in, a picture and speech out."""
    parts = [types_pb2.Part(inline=types_pb2.InlineMedia(data=picture())), types_pb2.Part(text="hello")]
    return anygpt_service_pb2.GenerateRequest(parts=parts, want=[topology.IMAGE, topology.SPEECH])


async def test_one_trace_holds_the_tree_of_every_hop(traced: tuple[str, InMemorySpanExporter]) -> None:
    address, exporter = traced
    await generate(address, picture_request(), ("traceparent", CALLER))
    spans = await ended(exporter, len(OF_A_PICTURE))
    assert tree(spans) == OF_A_PICTURE
    assert {format(span.context.trace_id, "032x") for span in spans if span.context} == {trace_id(CALLER)}
    services = {span.name: span.resource.attributes["service.name"] for span in spans}
    assert services["image_decoder"] == "image_decoder"
    assert (
        len(
            {span.attributes["anygpt.request"] for span in spans if span.attributes and span.name != GENERATE}
        )
        == 1
    )


async def test_a_hop_that_fails_tells_its_reason_and_nothing_of_the_content(
    traced: tuple[str, InMemorySpanExporter],
) -> None:
    address, exporter = traced
    async with AsyncClient(address) as client:
        with pytest.raises(AnyGPTError):
            await client.answer("refuse tomatoes", options=Options(want=["text"]))
    spans = {span.name: span for span in await ended(exporter, 2)}
    assert spans["llm"].status.description == "REFUSED"
    assert "tomatoes" not in "".join(span.to_json() for span in spans.values())


async def test_without_an_exporter_a_context_passes_through(plain_pack: Path, tmp_path: Path) -> None:
    async with inside(plain_pack, tmp_path) as (address, runtime):
        contexts = asyncio.create_task(headers(runtime.bus.follow(topology.REPLIES), 3))
        await generate(address, picture_request(), ("traceparent", CALLER))
        assert await contexts == [CALLER] * 3


@pytest.mark.timeout(300)
async def test_a_collector_gets_one_trace_from_every_process(
    plain_pack: Path, own_backends: Backends, collector: Collector
) -> None:
    more = {"ANYGPT_PACK": str(plain_pack), "ANYGPT_TRACE__ENDPOINT": collector.url}
    with ExitStack() as stack:
        gateway = stack.enter_context(PlainService("gateway", own_backends, **more))
        for name in ("image_encoder", "llm", "image_decoder"):
            stack.enter_context(PlainService(name, own_backends, **more))
        async with AsyncClient(gateway.address) as client:
            await client.answer(image(picture(72)), "hello", options=Options(want=["image"]))
    wanted = {
        "gateway": GENERATE,
        "image_encoder": "image_encoder",
        "llm": "llm",
        "image_decoder": "image_decoder",
    }
    assert wanted.items() <= collector.spans().items()
    assert len(collector.traces(GENERATE)) == 1
    assert collector.traces("image_decoder") == collector.traces(GENERATE)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OTLP collector that keeps what it is sent."""

    def __init__(self, server: grpc.Server) -> None:
        self.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        self._received: list[Any] = []
        add: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        add(self, server)

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        """See TraceService."""
        self._received.extend(request.resource_spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> dict[str, str]:
        """Services, each with the name of a span."""
        return {service: span.name for service, span in self._all() if span.name in (GENERATE, service)}

    def traces(self, name: str) -> set[bytes]:
        """The traces that have a span of that name."""
        return {span.trace_id for _, span in self._all() if span.name == name}

    def _all(self) -> list[tuple[str, Any]]:
        return [
            (
                next(one.value.string_value for one in sent.resource.attributes if one.key == "service.name"),
                span,
            )
            for sent in self._received
            for scope in sent.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Any:
    """A collector on a free port."""
    server = grpc.server(futures.ThreadPoolExecutor(2))
    made = Collector(server)
    server.start()
    yield made
    server.stop(None).wait()


async def ended(exporter: InMemorySpanExporter, count: int) -> Sequence[ReadableSpan]:
    """The spans, once so many have ended: that of the call ends just after its client has its last event."""
    async with asyncio.timeout(10):
        while len(exporter.get_finished_spans()) < count:
            await asyncio.sleep(0.01)
    return exporter.get_finished_spans()


async def headers(records: AsyncIterator[Any], count: int) -> list[str]:
    """The contexts of the first records."""
    return [(await anext(records)).headers["traceparent"] for _ in range(count)]
