"""Encoders and decoders in one process, called from outside through gRPC."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from anygpt.errors import from_rpc_error
from anygpt.main import Service, running
from anygpt.settings import ServiceSettings
from anygpt.topology import AUDIO, IMAGE, MODALITY_NAMES, SPEECH, VIDEO, Modality
from anygpt.v1 import stages_pb2, stages_pb2_grpc, types_pb2
from anygpt_models.input import Source, probe
from services.audio_decoder.__main__ import SERVICE as AUDIO_DECODER
from services.audio_encoder.__main__ import SERVICE as AUDIO_ENCODER
from services.image_decoder.__main__ import SERVICE as IMAGE_DECODER
from services.image_encoder.__main__ import SERVICE as IMAGE_ENCODER
from services.speech_decoder.__main__ import SERVICE as SPEECH_DECODER
from services.speech_encoder.__main__ import SERVICE as SPEECH_ENCODER
from services.video_decoder.__main__ import SERVICE as VIDEO_DECODER
from services.video_encoder.__main__ import SERVICE as VIDEO_ENCODER
from tests.unit.decoders.spans import caption

DECODERS = (IMAGE_DECODER, VIDEO_DECODER, SPEECH_DECODER, AUDIO_DECODER)
ENCODERS = (IMAGE_ENCODER, VIDEO_ENCODER, SPEECH_ENCODER, AUDIO_ENCODER)


@pytest.fixture
async def channel(media_pack: Path, tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    settings = ServiceSettings(pack=str(media_pack), data=tmp_path, drain_s=1.0)
    async with (
        running([*ENCODERS, *DECODERS], settings) as process,
        grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel,
    ):
        yield channel


async def made(channel: grpc.aio.Channel, modality: Modality) -> stages_pb2.DecodedMedia:
    decoder = stages_pb2_grpc.DecoderServiceStub(channel)
    responses = [each async for each in decoder.Decode(iter([caption(modality)]))]
    return responses[-1].media


@pytest.mark.parametrize("modality", [IMAGE, VIDEO, SPEECH, AUDIO])
async def test_what_a_decoder_makes_its_encoder_takes(channel: grpc.aio.Channel, modality: Modality) -> None:
    media = await made(channel, modality)
    assert probe(Source(media.data)).media_type == media.ready.media.media_type
    inline = types_pb2.InlineMedia(data=media.data, media_type=media.ready.media.media_type)
    request = stages_pb2.EncodeRequest(modality=modality, inline=inline)
    encoder = stages_pb2_grpc.EncoderServiceStub(channel)
    [response] = [each async for each in encoder.Encode(request)]
    assert response.WhichOneof("output") == ("codes" if modality == SPEECH else "features")


async def test_a_refusal_reaches_the_caller_with_reason_and_field(channel: grpc.aio.Channel) -> None:
    encoder = stages_pb2_grpc.EncoderServiceStub(channel)
    request = stages_pb2.EncodeRequest(modality=IMAGE, inline=types_pb2.InlineMedia(data=b"no picture " * 9))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(aiter(encoder.Encode(request)))
    error = from_rpc_error(raised.value)
    assert (error.reason, error.field) == ("MEDIA_UNREADABLE", "inline.data")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_service_says_that_it_is_ready(channel: grpc.aio.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in (*ENCODERS, *DECODERS):
        answer = await health.Check(  # type: ignore[attr-defined]
            health_pb2.HealthCheckRequest(service=service.name)
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("service", [*ENCODERS, *DECODERS], ids=lambda service: service.name)
async def test_each_is_ready_in_three_seconds(service: Service, media_pack: Path, tmp_path: Path) -> None:
    began = time.process_time()
    async with running([service], ServiceSettings(pack=str(media_pack), data=tmp_path, drain_s=0.1)):
        assert time.process_time() - began < 3.0


def test_the_services_are_named_by_their_modality() -> None:
    names = {MODALITY_NAMES[modality] for modality in (IMAGE, VIDEO, SPEECH, AUDIO)}
    assert {service.name for service in ENCODERS} == {f"{name}_encoder" for name in names}
    assert {service.name for service in DECODERS} == {f"{name}_decoder" for name in names}
