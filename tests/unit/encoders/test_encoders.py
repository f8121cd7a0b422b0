"""Each encoder takes real files through its stage and gives what the manifest says."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anygpt.errors import (
    AnyGPTError,
    DataLoss,
    DeadlineExpired,
    InvalidInput,
    NotFound,
    Precondition,
    RequestCancelled,
)
from anygpt.main import Runtime, opened_runtime
from anygpt.settings import LimitSettings, ServiceSettings
from anygpt.stage import Call, now_ms
from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO, Modality
from anygpt.v1 import stages_pb2, types_pb2
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.layout import PLACES, Layout
from anygpt_models.scene_recogniser import LayoutRecogniser, SceneRecogniser
from anygpt_models.serving.encoding import EncoderStage
from services.audio_encoder import settings as audio_settings
from services.audio_encoder import stage as audio
from services.gateway.prompt import PromptWriter
from services.image_encoder import settings as image_settings
from services.image_encoder import stage as image
from services.speech_encoder import settings as speech_settings
from services.speech_encoder import stage as speech
from services.trainer.pack_build import build
from services.video_encoder import settings as video_settings
from services.video_encoder import stage as video
from tests.published_pack import save_anygpt
from tests.unit.input import files
from tests.unit.media_pack import manifest, sibling

Build = Callable[[Runtime], EncoderStage]

BUILDERS: dict[Modality, Build] = {
    IMAGE: lambda runtime: image.build(image_settings.Settings(), runtime),
    VIDEO: lambda runtime: video.build(video_settings.Settings(), runtime),
    SPEECH: lambda runtime: speech.build(speech_settings.Settings(), runtime),
    AUDIO: lambda runtime: audio.build(audio_settings.Settings(), runtime),
}
SHAPES = {IMAGE: [4, 256], VIDEO: [8, 256], AUDIO: [8, 256]}


def example(modality: Modality) -> bytes:
    if modality == IMAGE:
        return files.saved(files.halves(), "PNG")
    if modality == VIDEO:
        return files.video(files.plain_frames(12))
    return files.wav(files.tone(2.0))


def new_call(**more: Any) -> Call:
    return Call("0" * 32, "team", now_ms() + 60_000, **more)


def inline(
    data: bytes, modality: Modality = types_pb2.MODALITY_UNSPECIFIED, media_type: str = ""
) -> stages_pb2.EncodeRequest:
    media = types_pb2.InlineMedia(data=data, media_type=media_type)
    return stages_pb2.EncodeRequest(modality=modality, inline=media)


async def opened(runtime: Runtime, modality: Modality) -> EncoderStage:
    stage = BUILDERS[modality](runtime)
    await stage.open()
    return stage


async def encoded(
    stage: EncoderStage, request: stages_pb2.EncodeRequest, call: Call | None = None
) -> stages_pb2.EncodeResponse:
    async def requests() -> Any:
        yield request

    [response] = [each async for each in stage.handle(requests(), call or new_call())]
    return response


def numbers(response: stages_pb2.EncodeResponse) -> np.ndarray[Any, np.dtype[np.float16]]:
    tensor = response.features.tensor
    return np.frombuffer(tensor.data, dtype=np.float16).reshape(list(tensor.shape))


@pytest.mark.parametrize("modality", SHAPES)
async def test_media_become_features_of_the_pack_s_shape(runtime: Runtime, modality: Modality) -> None:
    stage = await opened(runtime, modality)
    response = await encoded(stage, inline(example(modality), modality))
    assert response.features.modality == modality
    assert response.features.tensor.dtype == "float16"
    assert list(response.features.tensor.shape) == SHAPES[modality]
    assert numbers(response).astype(float).std(axis=1) == pytest.approx(1.0, abs=0.01)
    assert numbers(await encoded(stage, inline(example(modality)))).tobytes() == numbers(response).tobytes()


@pytest.mark.parametrize(("modality", "count"), [(IMAGE, 32), (VIDEO, 56), (AUDIO, 130)])
async def test_media_become_codes_where_the_manifest_says_so(
    media_pack: Path, tmp_path: Path, modality: Modality, count: int
) -> None:
    pack = sibling(media_pack, tmp_path / "codes", manifest(into="codes"))
    async with opened_runtime(ServiceSettings(pack=str(pack), data=tmp_path)) as runtime:
        stage = await opened(runtime, modality)
        response = await encoded(stage, inline(example(modality)))
    assert response.codes.modality == modality
    assert len(response.codes.ids) == count
    assert max(response.codes.ids) < 4096


async def test_published_music_has_codes_for_as_long_as_it_lasts_and_as_the_doors_count(
    tmp_path: Path,
) -> None:
    build(save_anygpt(tmp_path / "parts"), tmp_path / "parts", tmp_path / "pack")
    settings = ServiceSettings(pack=str(tmp_path / "pack"), data=tmp_path / "data")
    async with opened_runtime(settings) as runtime:
        stage, doors = await opened(runtime, AUDIO), PromptWriter(runtime.pack, 100)
        for seconds, rate, count in (
            (0.5, 32_000, 100), (1.0, 32_000, 200), (1.03, 32_000, 204), (7.0, 16_000, 1000),
        ):  # fmt: skip
            response = await encoded(stage, inline(files.wav(files.tone(seconds, rate), rate)))
            assert len(response.codes.ids) == count
            assert count + 2 <= doors.part_length(types_pb2.Part(modality=AUDIO), seconds) <= count + 6
        short = await encoded(stage, inline(files.wav(files.tone(0.01, 32_000), 32_000)))
        assert len(short.codes.ids) == 4


async def test_speech_becomes_codes_and_a_film_s_sound_is_heard(runtime: Runtime) -> None:
    stage = await opened(runtime, SPEECH)
    response = await encoded(stage, inline(example(SPEECH), SPEECH, "audio/wav"))
    assert response.WhichOneof("output") == "codes"
    assert response.codes.modality == SPEECH
    assert all(code < 1024 for code in response.codes.ids)


async def test_a_search_for_words_leaves_the_lane_to_others_and_ends_with_its_call(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, searching = await opened(runtime, SPEECH), threading.Event()
    assert isinstance(stage, speech.SpeechEncoder)

    def searched(heard: Any, check: Callable[[], None]) -> Any:
        while True:
            searching.set()
            check()
            time.sleep(0.01)

    monkeypatch.setattr(stage._hearing, "read", searched)
    call = new_call()
    search = asyncio.create_task(encoded(stage, inline(example(SPEECH), SPEECH), call))
    await asyncio.to_thread(searching.wait, 20.0)
    assert await asyncio.wait_for(runtime.lane.run(lambda: "free"), 20.0) == "free"
    call.cancel()
    with pytest.raises(RequestCancelled):
        await search


@pytest.mark.parametrize("modality", [VIDEO, AUDIO])
async def test_long_media_are_pooled_over_their_clips(runtime: Runtime, modality: Modality) -> None:
    long = files.wav(files.tone(7.5)) if modality == AUDIO else files.video(files.plain_frames(90))
    stage = await opened(runtime, modality)
    response = await encoded(stage, inline(long))
    assert list(response.features.tensor.shape) == SHAPES[modality]
    assert numbers(response).astype(float).std(axis=1) == pytest.approx(1.0, abs=0.01)


async def kept(runtime: Runtime, data: bytes) -> types_pb2.MediaRef:
    digest = hashlib.sha256(data).hexdigest()
    await runtime.store.put(f"team/uploads/{digest}", data, "image/png")
    return types_pb2.MediaRef(
        object=f"uploads/{digest}", sha256=digest, size_bytes=len(data), media_type="image/png"
    )


async def test_media_by_reference_are_fetched_from_the_tenant_s_objects(runtime: Runtime) -> None:
    stage, data = await opened(runtime, IMAGE), example(IMAGE)
    media = await kept(runtime, data)
    by_reference = await encoded(stage, stages_pb2.EncodeRequest(media=media))
    assert numbers(by_reference).tobytes() == numbers(await encoded(stage, inline(data))).tobytes()


@pytest.mark.parametrize(
    ("change", "error", "field"),
    [
        ({"sha256": "0" * 64}, DataLoss, "media.sha256"),
        ({"size_bytes": 7}, DataLoss, "media.size_bytes"),
        ({"object": "uploads/" + "1" * 64}, NotFound, "media.object"),
        ({"object": "../secrets"}, InvalidInput, "media.object"),
        ({"media_type": "audio/wav"}, InvalidInput, "media"),
    ],
)
async def test_a_reference_that_does_not_hold_is_refused(
    runtime: Runtime, change: dict[str, Any], error: type[AnyGPTError], field: str
) -> None:
    stage = await opened(runtime, IMAGE)
    media = await kept(runtime, example(IMAGE))
    for name, value in change.items():
        setattr(media, name, value)
    with pytest.raises(error) as raised:
        await encoded(stage, stages_pb2.EncodeRequest(media=media))
    assert raised.value.field == field


async def test_another_tenant_s_object_does_not_exist(runtime: Runtime) -> None:
    stage = await opened(runtime, IMAGE)
    media = await kept(runtime, example(IMAGE))
    with pytest.raises(NotFound):
        await encoded(stage, stages_pb2.EncodeRequest(media=media), replace(new_call(), tenant="rival"))


@pytest.mark.parametrize(
    ("data", "media_type", "reason"),
    [
        (b"", "", "MEDIA_EMPTY"),
        (b"plain text " * 20, "image/png", "MEDIA_TYPE_MISMATCH"),
        (files.saved(files.halves(), "PNG")[:200], "", "MEDIA_TRUNCATED"),
        (files.png_bomb(), "image/png", "MEDIA_TOO_LARGE"),
        (files.wav(files.tone(0.1)), "", "MEDIA_TYPE_MISMATCH"),
        (bytes(LimitSettings().inline_bytes + 1), "", "MEDIA_TOO_LARGE"),
    ],
    ids=["empty", "text", "truncated", "bomb", "sound", "oversize"],
)
async def test_bad_media_are_refused_and_the_stage_goes_on(
    runtime: Runtime, data: bytes, media_type: str, reason: str
) -> None:
    stage = await opened(runtime, IMAGE)
    with pytest.raises(InvalidInput) as raised:
        await encoded(stage, inline(data, IMAGE, media_type))
    assert (raised.value.reason, raised.value.field) == (reason, "inline.data")
    assert (await encoded(stage, inline(example(IMAGE)))).HasField("features")


async def test_a_request_that_does_not_fit_the_stage_is_refused(runtime: Runtime) -> None:
    stage = await opened(runtime, IMAGE)
    with pytest.raises(InvalidInput, match="another modality"):
        await encoded(stage, inline(example(IMAGE), AUDIO))
    with pytest.raises(InvalidInput, match="no media"):
        await encoded(stage, stages_pb2.EncodeRequest())
    stranger = inline(example(IMAGE))
    stranger.vocabulary_digest = "0" * 64
    with pytest.raises(Precondition):
        await encoded(stage, stranger)


async def test_cancelled_and_late_requests_do_no_work(runtime: Runtime) -> None:
    stage, call = await opened(runtime, IMAGE), new_call()
    call.cancel()
    with pytest.raises(RequestCancelled):
        await encoded(stage, inline(example(IMAGE)), call)
    with pytest.raises(DeadlineExpired):
        await encoded(stage, inline(example(IMAGE)), replace(new_call(), deadline_ms=now_ms() - 1))


async def test_many_together_get_what_each_gets_alone(runtime: Runtime) -> None:
    stage = await opened(runtime, IMAGE)
    pictures = [files.saved(files.halves((shade, 0, 255 - shade)), "PNG") for shade in range(0, 250, 12)]
    alone = [numbers(await encoded(stage, inline(picture))) for picture in pictures]
    together = await asyncio.gather(*(encoded(stage, inline(picture)) for picture in pictures))
    for one, other in zip(alone, together, strict=True):
        assert np.allclose(one, numbers(other), atol=5e-3)


async def test_deterministic_mode_is_equal_to_the_bit(media_pack: Path, tmp_path: Path) -> None:
    settings = ServiceSettings(pack=str(media_pack), data=tmp_path, deterministic=True)
    async with opened_runtime(settings) as runtime:
        stage = await opened(runtime, AUDIO)
        sounds = [files.wav(files.tone(1.0, hertz=200 + 90 * place)) for place in range(5)]
        alone = [numbers(await encoded(stage, inline(sound))).tobytes() for sound in sounds]
        together = await asyncio.gather(*(encoded(stage, inline(sound)) for sound in sounds))
    assert [numbers(each).tobytes() for each in together] == alone


async def test_each_thing_of_a_scene_has_features_of_its_own_where_the_pack_sees_scenes(
    media_pack: Path, tmp_path: Path
) -> None:
    pack = sibling(media_pack, tmp_path / "scenes", manifest())
    torch.manual_seed(0)
    LayoutRecogniser().save_pretrained(pack / "image_layout")
    two = Image.new("RGB", (128, 128), "white")
    for corner in ((10, 10), (96, 50)):
        two.paste("blue", (*corner, corner[0] + 22, corner[1] + 22))
    async with opened_runtime(ServiceSettings(pack=str(pack), data=tmp_path)) as runtime:
        stage = await opened(runtime, IMAGE)
        scene = await encoded(stage, inline(files.saved(two, "PNG")))
        single = await encoded(stage, inline(example(IMAGE)))
    assert list(scene.features.tensor.shape) == [10, 256]
    assert list(single.features.tensor.shape) == [4, 256]
    told = Layout.of(torch.from_numpy(numbers(scene).astype("float32")[[4, 9]]))
    assert [list(PLACES)[place] for place in told.places] == ["at the top left", "at the right"]


async def test_pictures_of_one_thing_and_of_several_are_encoded_in_one_batch(media_pack: Path) -> None:
    pixels = np.full((3, 128, 128, 3), 255, dtype=np.uint8)
    pixels[0, 20:110, 20:110] = 30
    pixels[1, 10:30, 10:30] = 30
    pixels[2, 10:30, 10:30] = 30
    pixels[2, 60:80, 100:120] = 30
    torch.manual_seed(0)
    image_part = ImageRecogniser.open(media_pack / "image_recogniser")
    recogniser = SceneRecogniser(image_part, LayoutRecogniser().eval())
    found = recogniser.features(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert [len(features) for features in found] == [4, 5, 10]
