"""What a gateway reads of a real journal when its own clock is not the broker's."""

from __future__ import annotations

import asyncio
import time

import pytest

from anygpt import topology
from anygpt.connections import create_infrastructure, open_bus
from anygpt.identity import new_request_id
from anygpt.settings import ServiceSettings
from anygpt.v1 import bus_pb2
from services.gateway.ledger import Ledger
from services.gateway.streams import Streams

pytestmark = [
    pytest.mark.integration,
    # kafka-python leaves sockets that did not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
HOUR_NS = 3600 * 10**9
BUSY_S = 1.0
"""The broker takes so long to say where the journal ends."""


async def test_a_gateway_whose_clock_is_ahead_misses_nothing_of_its_first_request(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServiceSettings(bus=kafka)
    await create_infrastructure(settings)
    bus = await open_bus(settings)
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + HOUR_NS)
    streams, request_id = Streams(bus, 64, Ledger(())), new_request_id()
    reply = bus_pb2.Reply(
        request_id=request_id, stage=topology.GATEWAY, accepted=bus_pb2.Accepted(tenant="t")
    )
    await bus.publish(topology.REPLIES, request_id, b"", {})
    bus._lookups.submit(time.sleep, BUSY_S)  # type: ignore[attr-defined]
    await streams.open()
    with streams.watch(request_id) as watch:
        await bus.publish(topology.REPLIES, request_id, reply.SerializeToString(), {})
        async with asyncio.timeout(10):
            assert (await anext(watch.events())).HasField("started")
    await streams.close()
    await bus.close()
