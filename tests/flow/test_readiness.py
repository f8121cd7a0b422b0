"""A service that is still opening sends its callers away for a moment, rather than fail them or keep them waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from anygpt import topology
from anygpt.errors import Unavailable, from_rpc_error
from anygpt.main import Process, Runtime, Service, opened_runtime, serve
from anygpt.settings import ServiceSettings
from anygpt.stage import Call
from anygpt.v1 import anygpt_service_pb2, anygpt_service_pb2_grpc, stages_pb2, stages_pb2_grpc, types_pb2
from services.gateway.__main__ import SERVICE as GATEWAY
from tests.flow.media import picture
from tests.flow.stages import PlainEncoder

ENCODER = topology.ENCODERS[topology.IMAGE].name


class SlowEncoder(PlainEncoder):
    """Takes until it is told to open."""

    def __init__(self, runtime: Runtime, may_open: asyncio.Event) -> None:
        super().__init__(topology.IMAGE, runtime.store)
        self._may_open = may_open

    async def open(self) -> None:
        """Wait."""
        await self._may_open.wait()


class BrokenEncoder(PlainEncoder):
    """Fails whatever it is asked, as on a device that was lost."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__(topology.IMAGE, runtime.store)

    async def probe(self) -> None:
        """Fail."""
        raise RuntimeError("no device")

    async def handle(
        self, requests: AsyncIterator[stages_pb2.EncodeRequest], call: Call
    ) -> AsyncIterator[stages_pb2.EncodeResponse]:
        """Fail."""
        await self.probe()
        yield stages_pb2.EncodeResponse()


@asynccontextmanager
async def opening(pack: Path, data: Path, may_open: asyncio.Event) -> AsyncIterator[str]:
    """A gateway and an encoder in one process that has bound its port and opens; gives the address."""
    settings = ServiceSettings(pack=str(pack), data=data, port=0)
    async with opened_runtime(settings) as runtime:
        encoder = Service(ENCODER, ServiceSettings, lambda _, shared: SlowEncoder(shared, may_open))
        process = Process([GATEWAY, encoder], runtime)
        start = asyncio.create_task(process.start())
        while not process.port:
            await asyncio.sleep(0.01)
        try:
            yield f"127.0.0.1:{process.port}"
        finally:
            may_open.set()
            await start
            await process.stop()


async def test_calls_before_readiness_are_told_to_come_back_and_then_served(
    plain_pack: Path, tmp_path: Path
) -> None:
    may_open = asyncio.Event()
    async with (
        opening(plain_pack, tmp_path, may_open) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        encoder: Any = stages_pb2_grpc.EncoderServiceStub(channel)
        gateway: Any = anygpt_service_pb2_grpc.AnyGPTServiceStub(channel)
        media = stages_pb2.EncodeRequest(
            modality=topology.IMAGE, inline=types_pb2.InlineMedia(data=picture())
        )
        hello = anygpt_service_pb2.GenerateRequest(parts=[types_pb2.Part(text="hello")])
        for call in (encoder.Encode(media), gateway.Generate(hello)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            error = from_rpc_error(caught.value)
            assert isinstance(error, Unavailable)
            assert (error.reason, error.retry_after_ms) == ("NOT_READY", 1000)
        may_open.set()
        async with asyncio.timeout(10):
            while not await _is_answered(encoder.Encode(media)):
                await asyncio.sleep(0.05)
            while not await _is_answered(gateway.Describe(anygpt_service_pb2.DescribeRequest())):
                await asyncio.sleep(0.05)


async def _is_answered(call: Any) -> bool:
    try:
        await (call.read() if hasattr(call, "read") else call)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_a_process_whose_stage_breaks_down_ends_so_that_another_is_started(
    plain_pack: Path, tmp_path: Path
) -> None:
    settings = ServiceSettings(pack=str(plain_pack), data=tmp_path, port=0)
    encoder = Service(ENCODER, ServiceSettings, lambda _, shared: BrokenEncoder(shared))
    port = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve([GATEWAY, encoder], settings, port.set_result))
    async with grpc.aio.insecure_channel(f"127.0.0.1:{await port}") as channel:
        media = stages_pb2.EncodeRequest(
            modality=topology.IMAGE, inline=types_pb2.InlineMedia(data=picture())
        )
        stub: Any = stages_pb2_grpc.EncoderServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Encode(media).read()
    with pytest.raises(Unavailable, match=f"{ENCODER} can work no more: no device"):
        await asyncio.wait_for(serving, 10)
