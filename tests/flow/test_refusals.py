"""Bad input: each kind gets its status, its reason and its field, within a second, and harms nobody else."""

from __future__ import annotations

import io
import struct
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import av
import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image

from anygpt.client import AsyncClient, Options, audio, image
from anygpt.errors import AnyGPTError, from_rpc_error
from anygpt.v1 import anygpt_service_pb2, types_pb2
from tests.flow.media import REFUSE_WIDTH, film, picture, sound

TEXT = "parts { text: 'hello' }"

REFUSED = [
    ("an empty request", "", 3, "EMPTY_REQUEST", "parts"),
    ("a part without content", "parts { modality: MODALITY_TEXT }", 3, "EMPTY_PART", "parts[0]"),
    ("an empty text", "parts { text: '  ' }", 3, "EMPTY_PART", "parts[0].text"),
    ("an unknown modality", "parts { modality: 77 text: 'x' }", 3, "MODALITY_UNKNOWN", "parts[0].modality"),
    ("text that claims to be an image", "parts { modality: MODALITY_IMAGE text: 'x' }", 3, "MODALITY_MISMATCH",
     "parts[0].modality"),
    ("an unknown modality wanted", f"{TEXT} want: 9", 3, "MODALITY_UNKNOWN", "want[0]"),
    ("an object that is not there", "parts { media { object: 'uploads/abc' } }", 5, "OBJECT_NOT_FOUND",
     "parts[0].media"),
    ("an object id that is none", "parts { media { object: '../etc/passwd' } }", 3, "OBJECT_ID", "parts[0].media"),
    ("a hot temperature", f"{TEXT} sampling {{ modality: MODALITY_TEXT sampling {{ temperature: 9 }} }}", 3,
     "OUT_OF_BOUNDS", "sampling[0].sampling.temperature"),
    ("a temperature that is no number",
     f"{TEXT} sampling {{ modality: MODALITY_TEXT sampling {{ temperature: nan }} }}", 3, "OUT_OF_BOUNDS",
     "sampling[0].sampling.temperature"),
    ("no probability at all", f"{TEXT} sampling {{ modality: MODALITY_TEXT sampling {{ top_p: 0 }} }}", 3,
     "OUT_OF_BOUNDS", "sampling[0].sampling.top_p"),
    ("two settings of one modality", f"{TEXT} sampling {{ modality: 1 }} sampling {{ modality: 1 }}", 3, "DUPLICATE",
     "sampling[1].modality"),
    ("an unknown format", f"{TEXT} output {{ modality: MODALITY_IMAGE format: 'exe' }}", 3, "FORMAT_UNKNOWN",
     "output[0].format"),
    ("a huge picture", f"{TEXT} output {{ modality: MODALITY_IMAGE width: 99999 }}", 3, "OUT_OF_BOUNDS",
     "output[0].width"),
    ("too many steps", f"{TEXT} output {{ modality: MODALITY_IMAGE diffusion {{ steps: 101 }} }}", 3, "OUT_OF_BOUNDS",
     "output[0].diffusion.steps"),
    ("a loud picture", f"{TEXT} output {{ modality: MODALITY_IMAGE loudness_lufs: -14 }}", 3, "OPTION_UNKNOWN",
     "output[0].loudness_lufs"),
    ("a text in pixels", f"{TEXT} output {{ modality: MODALITY_TEXT width: 64 }}", 3, "OPTION_UNKNOWN",
     "output[0].width"),
    ("a film too large to hold", f"{TEXT} output {{ modality: MODALITY_VIDEO width: 1920 }}", 3, "TOO_LARGE",
     "output[0].width"),
    ("a film longer than any", f"{TEXT} output {{ modality: MODALITY_VIDEO duration_s: 60 }}", 3, "OUT_OF_BOUNDS",
     "output[0].duration_s"),
    ("a picture in steps of none", f"{TEXT} output {{ modality: MODALITY_IMAGE diffusion {{ guidance: nan }} }}", 3,
     "OUT_OF_BOUNDS", "output[0].diffusion.guidance"),
    ("a scheduler of another pack", f"{TEXT} output {{ modality: MODALITY_IMAGE diffusion {{ scheduler: 'x' }} }}", 3,
     "SCHEDULER_UNKNOWN", "output[0].diffusion.scheduler"),
    ("more choices than there are", f"{TEXT} sampling {{ modality: 1 sampling {{ top_k: 4294967295 }} }}", 3,
     "OUT_OF_BOUNDS", "sampling[0].sampling.top_k"),
    ("a picture that ends at a word", f"{TEXT} sampling {{ modality: 2 sampling {{ stop: 'x' }} }}", 3,
     "OPTION_UNKNOWN", "sampling[0].sampling.stop"),
    ("a stop as long as a page", f"{TEXT} sampling {{ modality: 1 sampling {{ stop: '{'x' * 65}' }} }}", 3,
     "OUT_OF_BOUNDS", "sampling[0].sampling.stop"),
    ("an unknown voice", f"{TEXT} voice: 'nobody'", 3, "VOICE_UNKNOWN", "voice"),
    ("a conversation that is not there", f"{TEXT} conversation_id: 'abc'", 5, "NOT_FOUND", "conversation_id"),
    ("a conversation id that is none", f"{TEXT} conversation_id: '../x'", 3, "INVALID_INPUT", "conversation_id"),
    ("a long key", f"{TEXT} idempotency_key: '{'k' * 129}'", 3, "TOO_LARGE", "idempotency_key"),
    ("a negative grace", f"{TEXT} grace {{ seconds: -1 }}", 3, "INVALID_INPUT", "grace"),
    ("more than the context", f"parts {{ text: '{'word ' * 3000}' }}", 3, "CONTEXT_EXCEEDED", "parts"),
]  # fmt: skip


def _bomb() -> bytes:
    """A PNG of a few hundred kilobytes that would be 400 million pixels."""
    out = io.BytesIO()
    Image.new("1", (20000, 20000)).save(out, "PNG")
    return out.getvalue()


def _frames_bomb() -> bytes:
    """A GIF of a few hundred kilobytes that would be 500,000 million pixels, frame after frame."""
    frame = b"!\xf9\4\0\2\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    head = b"GIF89a" + struct.pack("<HH", 5000, 5000) + b"\x80\0\0\0\0\0\xff\xff\xff"
    return head + frame * 10_000 + b";"


@cache
def _four_hours() -> bytes:
    """A FLAC of silence."""
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=8000, layout="mono")
        minutes = av.AudioFrame.from_ndarray(np.zeros((1, 8000 * 600), np.int16), format="s16", layout="mono")
        minutes.sample_rate = 8000
        for _ in range(4 * 6):
            container.mux(stream.encode(minutes))
        container.mux(stream.encode(None))
    return out.getvalue()


MEDIA: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("a zero-byte file", b"", {}, "MEDIA_EMPTY"),
    ("text named image", b"this is no picture at all", {"media_type": "image/png"}, "MEDIA_TYPE_MISMATCH"),
    ("a picture named sound", picture(), {"modality": types_pb2.MODALITY_AUDIO}, "MEDIA_TYPE_MISMATCH"),
    ("a sound named picture", sound(), {"modality": types_pb2.MODALITY_IMAGE}, "MEDIA_TYPE_MISMATCH"),
    ("a picture of another type", picture(), {"media_type": "image/jpeg"}, "MEDIA_TYPE_MISMATCH"),
    ("a decompression bomb", _bomb(), {}, "MEDIA_TOO_LARGE"),
    ("a bomb of many frames", _frames_bomb(), {}, "MEDIA_TOO_LARGE"),
    ("half a sound", sound()[:8000], {"modality": types_pb2.MODALITY_AUDIO}, "MEDIA_TRUNCATED"),
    ("half a film", film()[:600], {}, "MEDIA_TRUNCATED"),
]


async def refusal(client: AsyncClient, request: anygpt_service_pb2.GenerateRequest) -> AnyGPTError:
    """The error of a request that must fail within a second."""
    began = time.perf_counter()
    with pytest.raises(AnyGPTError) as caught:
        async for _ in client.stream(request):
            pass
    assert time.perf_counter() - began < 1.0
    return caught.value


@pytest.mark.parametrize(
    ("what", "body", "code", "reason", "field"), REFUSED, ids=[case[0] for case in REFUSED]
)
async def test_a_bad_request_is_refused_by_name(
    client: AsyncClient, what: str, body: str, code: int, reason: str, field: str
) -> None:
    request = text_format.Parse(body, anygpt_service_pb2.GenerateRequest())
    error = await refusal(client, request)
    assert (error.code, error.reason, error.field) == (code, reason, field), what


@pytest.mark.parametrize(("what", "data", "claim", "reason"), MEDIA, ids=[case[0] for case in MEDIA])
async def test_bad_media_is_refused_by_name(
    client: AsyncClient, what: str, data: bytes, claim: dict[str, Any], reason: str
) -> None:
    inline = types_pb2.InlineMedia(data=data, media_type=claim.get("media_type", ""))
    part = types_pb2.Part(modality=claim.get("modality", 0), inline=inline)
    error = await refusal(client, anygpt_service_pb2.GenerateRequest(parts=[part]))
    assert (error.code, error.reason) == (3, reason), what
    assert error.field.startswith("parts[0]")


async def test_inline_media_above_the_limit_is_refused(client: AsyncClient) -> None:
    part = types_pb2.Part(inline=types_pb2.InlineMedia(data=b"x" * (256 * 1024 + 1)))
    error = await refusal(client, anygpt_service_pb2.GenerateRequest(parts=[part]))
    assert (error.reason, error.field) == ("TOO_LARGE", "parts[0].inline")


async def test_a_sound_of_four_hours_is_refused_within_a_second(client: AsyncClient) -> None:
    hours = audio(_four_hours())
    began = time.perf_counter()
    with pytest.raises(AnyGPTError) as caught:
        await client.upload(hours)
    assert time.perf_counter() - began < 1.0
    assert (caught.value.code, caught.value.reason, caught.value.field) == (3, "MEDIA_TOO_LONG", "chunk")


async def test_another_tenants_conversation_and_media_are_not_found(
    client: AsyncClient, address: str
) -> None:
    conversation = await client.new_conversation()
    reference = (await client.answer("image", options=Options(want=["image"]))).media("image")[0]
    async with AsyncClient(address, "stranger") as stranger:
        for request in (
            await stranger.request("hello", options=Options(conversation_id=conversation)),
            await stranger.request(reference, options=Options()),
        ):
            assert (await refusal(stranger, request)).code == 5


async def test_a_refused_request_leaves_others_untouched(client: AsyncClient) -> None:
    for body in ("", f"{TEXT} want: 9"):
        await refusal(client, text_format.Parse(body, anygpt_service_pb2.GenerateRequest()))
    assert (await client.answer("image")).media("image")


async def test_a_truncated_film_does_not_harm(client: AsyncClient) -> None:
    whole = film()
    part = types_pb2.Part(
        modality=types_pb2.MODALITY_VIDEO, inline=types_pb2.InlineMedia(data=whole[: len(whole) // 3])
    )
    assert (await refusal(client, anygpt_service_pb2.GenerateRequest(parts=[part]))).code == 3


async def test_what_an_encoder_refuses_is_told_by_the_part_that_holds_it(client: AsyncClient) -> None:
    with pytest.raises(AnyGPTError) as caught:
        await client.answer("recall", image(picture()), image(picture(REFUSE_WIDTH)))
    assert (caught.value.code, caught.value.reason) == (3, "REFUSED")
    assert caught.value.field == "parts[2].media"


@pytest.mark.parametrize("method", ["AnyGPTService/Generate", "AnyGPTService/Cancel", "MediaService/Upload"])
async def test_bytes_that_are_no_message_are_bad_input_like_any_other(address: str, method: str) -> None:
    async with grpc.aio.insecure_channel(address) as opened:
        channel: Any = opened
        path, garbage = f"/anygpt.v1.{method}", b"\xff\xff\xff"
        calls: dict[str, Callable[[], Any]] = {
            "Generate": lambda: channel.unary_stream(path)(garbage).read(),
            "Cancel": lambda: channel.unary_unary(path)(garbage),
            "Upload": lambda: channel.stream_unary(path)(iter([garbage])),
        }
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calls[method.split("/")[1]]()
    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (3, "MESSAGE_MALFORMED")
