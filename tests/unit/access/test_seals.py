"""Seals of the journal: each writer speaks for itself alone, and says what its kind may say."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from anygpt import topology
from anygpt.bus_memory import MemoryBus
from anygpt.bus_sealed import SealedBus
from anygpt.errors import InvalidInput
from anygpt.seals import Seals
from anygpt.settings import LimitSettings
from anygpt.v1 import anygpt_service_pb2, bus_pb2, stages_pb2, types_pb2

MASTER = "the gateway's own secret"
REQUEST = "0" * 32
OTHER_REQUEST = "1" * 32

BODIES: Mapping[str, Any] = {
    "accepted": bus_pb2.Accepted(tenant="acme"),
    "encoded": bus_pb2.Encoded(sha256="00"),
    "composed": anygpt_service_pb2.PromptComposed(prompt_tokens=1),
    "generated": stages_pb2.GenerateTokensResponse(span_index=1),
    "decoded": stages_pb2.DecodeResponse(),
    "span_finished": anygpt_service_pb2.SpanFinished(truncated=True),
    "failure": types_pb2.Failure(code=3),
    "cancel": types_pb2.CancelOrder(request_id=REQUEST),
    "terminal": bus_pb2.Terminal(cancelled=anygpt_service_pb2.Cancelled(reason="x")),
    "claimed": bus_pb2.AttemptClaimed(),
    "released": bus_pb2.AttemptReleased(),
}
STAGES_MAY = {"failure", "claimed", "released"}
MAY_SAY = {
    "gateway": set(BODIES),
    "image_encoder": {"encoded"} | STAGES_MAY,
    "llm": {"generated"} | STAGES_MAY,
    "image_decoder": {"decoded", "span_finished"} | STAGES_MAY,
}


def record(writer: str, kind: str, request_id: str = REQUEST) -> bytes:
    """A record of the journal as `writer` would write it."""
    reply = bus_pb2.Reply(stage=writer, request_id=request_id)
    getattr(reply, kind).CopyFrom(BODIES[kind])
    getattr(reply, kind).SetInParent()
    return reply.SerializeToString()


def seals_of(writer: str) -> Seals:
    """What a writer's process holds."""
    master = Seals(MASTER)
    return master if writer == topology.GATEWAY else Seals(master.key_of(writer) or "")


def test_every_kind_of_record_is_in_the_table() -> None:
    assert set(BODIES) == {field.name for field in bus_pb2.Reply.DESCRIPTOR.oneofs_by_name["body"].fields}


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("writer", MAY_SAY)
def test_a_writer_says_what_its_kind_may_say_and_nothing_else(writer: str, kind: str) -> None:
    value = record(writer, kind)
    seal = seals_of(writer).sign(writer, REQUEST, value)
    assert Seals(MASTER).is_good(value, REQUEST, seal) == (kind in MAY_SAY[writer])


@pytest.mark.parametrize("victim", ["gateway", "llm", "image_decoder", "video_encoder"])
def test_nobody_can_seal_for_another(victim: str) -> None:
    forger = seals_of("image_encoder")
    with pytest.raises(InvalidInput):
        forger.sign(victim, REQUEST, b"")
    value = record(victim, "failure")
    own = forger.sign("image_encoder", REQUEST, value)
    assert not Seals(MASTER).is_good(value, REQUEST, own)


def test_a_seal_holds_for_its_own_bytes_and_request_alone() -> None:
    value = record("image_encoder", "encoded")
    seal = seals_of("image_encoder").sign("image_encoder", REQUEST, value)
    master = Seals(MASTER)
    assert master.is_good(value, REQUEST, seal)
    assert not master.is_good(value + record("image_encoder", "failure"), REQUEST, seal)
    assert not master.is_good(value, OTHER_REQUEST, seal)
    for wrong in ("", seal[:-1], seal.upper(), "ü"):
        assert not master.is_good(value, REQUEST, wrong)
    assert not master.is_good(b"\xff\xff no message", REQUEST, seal)


def test_a_key_of_another_master_seals_nothing() -> None:
    value = record("llm", "generated")
    seal = Seals(Seals("another secret").key_of("llm") or "").sign("llm", REQUEST, value)
    assert not Seals(MASTER).is_good(value, REQUEST, seal)


@pytest.mark.parametrize("key", ["gateway:abc", "nobody:abc"])
def test_a_key_of_no_stage_is_no_key(key: str) -> None:
    with pytest.raises(InvalidInput):
        Seals(key)


async def test_forged_records_of_the_journal_reach_no_reader() -> None:
    wire = MemoryBus(LimitSettings())
    gateway = SealedBus(wire, Seals(MASTER))
    encoder, llm = (SealedBus(wire, seals_of(writer)) for writer in ("image_encoder", "llm"))
    consumer = await gateway.consume([topology.REPLIES], "gateway")
    follower = gateway.follow(topology.REPLIES, key=REQUEST, since_ms=0)
    forged = [record("gateway", "terminal"), record("image_encoder", "terminal"), record("llm", "generated")]
    for value in forged:
        await wire.publish(topology.REPLIES, REQUEST, value, {"seal": "00"})
        with pytest.raises(InvalidInput):
            await encoder.publish(topology.REPLIES, REQUEST, value, {})
    good = [
        ("image_encoder", "encoded", encoder),
        ("llm", "generated", llm),
        ("gateway", "terminal", gateway),
    ]
    for writer, kind, bus in good:
        await bus.publish(topology.REPLIES, REQUEST, record(writer, kind), {})
    expected = [record(writer, kind) for writer, kind, _ in good]
    async with asyncio.timeout(20):
        records = aiter(consumer)
        assert [(await anext(records)).value for _ in good] == expected
        assert [(await anext(follower)).value for _ in good] == expected
    await follower.aclose()
    await consumer.close()
    await wire.close()


async def test_a_stage_that_reads_the_journal_believes_none_who_speaks_in_its_name() -> None:
    wire = MemoryBus(LimitSettings())
    llm = SealedBus(wire, seals_of("llm"))
    await wire.publish(topology.REPLIES, REQUEST, record("llm", "generated"), {})
    await llm.publish(topology.REPLIES, REQUEST, record("llm", "claimed"), {})
    follower = llm.follow(topology.REPLIES, key=REQUEST, since_ms=0)
    async with asyncio.timeout(20):
        assert (await anext(follower)).value == record("llm", "claimed")
    await follower.aclose()
    await wire.close()
