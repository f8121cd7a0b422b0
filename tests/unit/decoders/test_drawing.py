"""Images, videos and audio come out of signals, captions and codes, the same for the same seed."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from anygpt.errors import AnyGPTError, DeadlineExpired, InvalidInput, Precondition, TooLarge
from anygpt.main import Runtime
from anygpt.topology import AUDIO, DECODERS, IMAGE, VIDEO, Modality
from anygpt.v1 import types_pb2
from anygpt_models.input import Source, probe
from tests.unit.decoders.conftest import Open
from tests.unit.decoders.spans import (
    Request,
    cancelled_after,
    caption,
    codes,
    decoded,
    new_call,
    sent,
    signals,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

DRAWN = (IMAGE, VIDEO, AUDIO)
LENGTHS = {IMAGE: 32, VIDEO: 56, AUDIO: 130}
TYPES = {IMAGE: "image/png", VIDEO: "video/mp4", AUDIO: "audio/wav"}


@pytest.mark.parametrize("modality", DRAWN)
async def test_signals_become_media_that_are_what_they_say(opened: Open, modality: Modality) -> None:
    stage = await opened(modality)
    result = await decoded(stage, signals(modality))
    ready, data = result.media.ready, result.media.data
    facts = probe(Source(data))
    assert (ready.media.media_type, facts.media_type) == (TYPES[modality], TYPES[modality])
    assert ready.media.modality == modality
    assert ready.media.size_bytes == len(data)
    assert ready.media.sha256 == hashlib.sha256(data).hexdigest()
    assert (ready.media.width, ready.media.height) == (facts.width, facts.height)
    assert ready.media.duration_ms == pytest.approx(facts.duration_ms, abs=5)
    assert (ready.media.sample_rate, ready.media.frame_rate) == (facts.sample_rate, facts.frame_rate)
    assert (ready.diffusion_steps, ready.guidance) == (4, 1.5)


@pytest.mark.parametrize("modality", DRAWN)
async def test_each_denoising_step_is_told(opened: Open, modality: Modality) -> None:
    options = types_pb2.OutputOptions(diffusion=types_pb2.Diffusion(steps=6, guidance=2.0))
    result = await decoded(await opened(modality), caption(modality, options=options))
    assert [each.done for each in result.progress] == [1, 2, 3, 4, 5, 6]
    assert {(each.total, each.stage) for each in result.progress} == {(6, DECODERS[modality].name)}
    assert (result.media.ready.diffusion_steps, result.media.ready.guidance) == (6, 2.0)


@pytest.mark.parametrize("modality", [IMAGE, VIDEO])
async def test_a_scheduler_is_chosen_by_its_name(opened: Open, modality: Modality) -> None:
    stage = await opened(modality)
    told: dict[str, bytes] = {}
    for name in ("", "cosine", "linear"):
        options = types_pb2.OutputOptions(diffusion=types_pb2.Diffusion(steps=4, scheduler=name))
        result = await decoded(stage, caption(modality, options=options))
        assert result.media.ready.scheduler == name
        told[name] = result.media.data
    assert told[""] == told["cosine"] != told["linear"]


@pytest.mark.parametrize("modality", DRAWN)
async def test_codes_go_straight_to_the_codec(opened: Open, modality: Modality) -> None:
    ids = list(range(0, 30 * LENGTHS[modality], 30))
    half = LENGTHS[modality] // 2
    stage = await opened(modality)
    whole = await decoded(stage, codes(modality, ids))
    first = Request(codes=types_pb2.Codes(ids=ids[:half]))
    second = Request(codes=types_pb2.Codes(ids=ids[half:]), chunk_index=1)
    empty_end = Request(chunk_index=2, is_last=True)
    pieces = await decoded(stage, first, second, empty_end)
    assert not whole.progress
    assert whole.media.ready.diffusion_steps == 0
    assert pieces.media.data == whole.media.data


@pytest.mark.parametrize("modality", DRAWN)
async def test_the_same_seed_gives_the_same_bytes(opened: Open, modality: Modality) -> None:
    stage = await opened(modality)
    results = [await decoded(stage, caption(modality, seed=5, span_index=1)) for _ in range(2)]
    assert results[0].media.data == results[1].media.data
    assert results[0].media.ready.seed == 5


async def test_another_seed_and_another_span_give_other_pictures(opened: Open) -> None:
    stage = await opened(IMAGE)
    places = [(5, 0), (6, 0), (5, 1)]
    results = [await decoded(stage, caption(IMAGE, seed=seed, span_index=span)) for seed, span in places]
    assert len({result.media.data for result in results}) == 3


async def test_audio_can_be_played_before_the_file_is_there(opened: Open) -> None:
    result = await decoded(await opened(AUDIO), caption(AUDIO, "happy piano music"))
    assert [chunk.index for chunk in result.chunks] == [0, 1, 2, 3, 4, 5]
    assert {(chunk.media_type, chunk.sample_rate) for chunk in result.chunks} == {("audio/pcm", 16_000)}
    assert sum(len(chunk.data) for chunk in result.chunks) == 2 * 81_920


@pytest.mark.parametrize(
    ("modality", "form", "media_type"),
    [(IMAGE, "jpeg", "image/jpeg"), (IMAGE, "webp", "image/webp"), (VIDEO, "webm", "video/webm"),
     (VIDEO, "gif", "image/gif"), (AUDIO, "flac", "audio/flac"), (AUDIO, "ogg", "audio/ogg"),
     (AUDIO, "mp3", "audio/mpeg")],
)  # fmt: skip
async def test_media_come_in_the_format_asked_for(
    opened: Open, modality: Modality, form: str, media_type: str
) -> None:
    options = types_pb2.OutputOptions(format=form, diffusion=types_pb2.Diffusion(steps=1))
    result = await decoded(await opened(modality), caption(modality, options=options))
    assert result.media.ready.media.media_type == media_type
    assert probe(Source(result.media.data)).media_type == media_type


@pytest.mark.parametrize(
    ("modality", "options", "facts", "steps"),
    [
        (IMAGE, {"width": 300, "sharpen": 0.5}, {"width": 300, "height": 300}, ["resize", "sharpen"]),
        (VIDEO, {"frame_rate": 16.0, "height": 64}, {"width": 64, "height": 64, "frame_rate": 16.0},
         ["interpolate", "resize"]),
        (VIDEO, {"width": 33, "height": 31, "frame_rate": 16.0}, {"width": 34, "height": 32, "frame_rate": 16.0},
         ["interpolate", "resize", "pad"]),
        (VIDEO, {"format": "webm", "width": 33, "height": 31}, {"width": 33, "height": 31}, ["resize"]),
        (AUDIO, {"sample_rate": 44_100, "loudness_lufs": -20.0}, {"sample_rate": 44_100, "duration_ms": 5120},
         ["resample", "loudness", "limit"]),
    ],
)  # fmt: skip
async def test_post_processing_is_done_and_told(
    opened: Open, modality: Modality, options: dict[str, Any], facts: dict[str, float], steps: list[str]
) -> None:
    asked = types_pb2.OutputOptions(diffusion=types_pb2.Diffusion(steps=1), **options)
    ready = (await decoded(await opened(modality), caption(modality, options=asked))).media.ready
    assert {name: getattr(ready.media, name) for name in facts} == facts
    assert [report.step for report in ready.steps] == steps


async def test_a_shorter_piece_is_cut(opened: Open) -> None:
    options = types_pb2.OutputOptions(duration_s=1.5, diffusion=types_pb2.Diffusion(steps=1))
    for modality in (AUDIO, VIDEO):
        result = await decoded(await opened(modality), caption(modality, options=options))
        assert result.media.ready.media.duration_ms == 1500


@pytest.mark.parametrize(
    ("modality", "options", "field"),
    [
        (IMAGE, {"format": "mp4"}, "output.format"),
        (IMAGE, {"width": 8}, "output.width"),
        (IMAGE, {"height": 5000}, "output.height"),
        (IMAGE, {"frame_rate": 10}, "output.frame_rate"),
        (IMAGE, {"sharpen": 1.5}, "output.sharpen"),
        (IMAGE, {"denoise": float("nan")}, "output.denoise"),
        (IMAGE, {"modality": AUDIO}, "output.modality"),
        (VIDEO, {"frame_rate": 0.5}, "output.frame_rate"),
        (VIDEO, {"duration_s": 60}, "output.duration_s"),
        (VIDEO, {"diffusion": types_pb2.Diffusion(steps=0)}, "output.diffusion.steps"),
        (AUDIO, {"diffusion": types_pb2.Diffusion(guidance=-1)}, "output.diffusion.guidance"),
        (AUDIO, {"sample_rate": 96_000}, "output.sample_rate"),
        (AUDIO, {"loudness_lufs": 0.0}, "output.loudness_lufs"),
        (AUDIO, {"width": 64}, "output.width"),
        (IMAGE, {"sample_rate": 16_000}, "output.sample_rate"),
        (VIDEO, {"loudness_lufs": -14.0}, "output.loudness_lufs"),
        (VIDEO, {"width": 1024, "height": 4096}, "output.height"),
        (VIDEO, {"width": 1920}, "output.width"),
        (VIDEO, {"format": "gif", "frame_rate": 60}, "output.frame_rate"),
        (AUDIO, {"format": "mp3", "sample_rate": 10_000}, "output.sample_rate"),
        (AUDIO, {"format": "ogg", "sample_rate": 44_100}, "output.sample_rate"),
    ],
)
async def test_an_option_that_is_not_served_is_refused_by_name(
    opened: Open, modality: Modality, options: dict[str, Any], field: str
) -> None:
    stage = await opened(modality)
    with pytest.raises(InvalidInput) as raised:
        await decoded(stage, caption(modality, options=types_pb2.OutputOptions(**options)))
    assert raised.value.field == field


async def test_a_clip_that_is_too_large_in_all_its_frames_is_refused(opened: Open) -> None:
    stage = await opened(VIDEO)
    large = types_pb2.OutputOptions(width=1920, height=1088, frame_rate=60)
    with pytest.raises(TooLarge) as raised:
        await decoded(stage, caption(VIDEO, options=large))
    assert raised.value.field == "output.frame_rate"


async def test_audio_of_a_timbre_alone_is_refused_and_of_one_step_more_is_made(opened: Open) -> None:
    stage = await opened(AUDIO)
    with pytest.raises(InvalidInput) as raised:
        await decoded(stage, codes(AUDIO, [1, 2]))
    assert (raised.value.reason, raised.value.field) == ("SHAPE", "codes.ids")
    assert (await decoded(stage, codes(AUDIO, [1, 2, 3, 4]))).media.data


def tensor(**changes: Any) -> Request:
    request = signals(IMAGE)
    for name, value in changes.items():
        if name == "shape":
            del request.signals.tensor.shape[:]
            request.signals.tensor.shape.extend(value)
        else:
            setattr(request.signals.tensor, name, value)
    return request


@pytest.mark.parametrize(
    ("requests", "error", "field"),
    [
        ([], InvalidInput, "input"),
        ([Request(is_last=True)], InvalidInput, "input"),
        ([caption(IMAGE, "")], InvalidInput, "caption"),
        ([caption(IMAGE, "x" * 3000)], InvalidInput, "caption"),
        ([caption(AUDIO)], InvalidInput, "modality"),
        ([Request(caption="a cat")], InvalidInput, "is_last"),
        ([Request(caption="a cat", chunk_index=1, is_last=True)], InvalidInput, "chunk_index"),
        ([codes(IMAGE, range(31))], InvalidInput, "codes.ids"),
        ([codes(IMAGE, [4096] * 32)], InvalidInput, "codes.ids"),
        ([codes(IMAGE, [1] * 9000)], InvalidInput, "codes.ids"),
        ([Request(codes=types_pb2.Codes(ids=[1])), caption(IMAGE, chunk_index=1)], InvalidInput, "codes"),
        ([Request(codes=types_pb2.Codes(ids=[1])), codes(IMAGE, [1], chunk_index=2)], InvalidInput, "chunk_index"),
        ([Request(codes=types_pb2.Codes(ids=[1])), codes(IMAGE, [1], chunk_index=1, span_index=3)],
         InvalidInput, "span_index"),
        ([tensor(shape=[4, 575])], InvalidInput, "signals.tensor.shape"),
        ([tensor(dtype="float64")], InvalidInput, "signals.tensor.dtype"),
        ([tensor(data=b"12345678")], InvalidInput, "signals.tensor.data"),
        ([tensor(data=b"\xff\x7f" * 4 * 576)], InvalidInput, "signals.tensor.data"),
        ([tensor(dtype="float32", data=b"\xff\xff\x7f\x7f" * 4 * 576)], InvalidInput, "signals.tensor.data"),
        ([caption(IMAGE, vocabulary_digest="0" * 64)], Precondition, "vocabulary_digest"),
    ],
)  # fmt: skip
async def test_a_span_that_does_not_hold_is_refused_by_its_field(
    opened: Open, requests: list[Request], error: type[AnyGPTError], field: str
) -> None:
    stage = await opened(IMAGE)
    with pytest.raises(error) as raised:
        await decoded(stage, *requests)
    assert raised.value.field == field
    assert (await decoded(stage, caption(IMAGE))).media.data


@pytest.mark.parametrize("modality", DRAWN)
async def test_a_cancelled_span_stops_at_its_next_step(opened: Open, modality: Modality) -> None:
    options = types_pb2.OutputOptions(diffusion=types_pb2.Diffusion(steps=100))
    seen = await cancelled_after(3, await opened(modality), caption(modality, options=options))
    assert [response.progress.done for response in seen] == [1, 2, 3]


async def test_a_span_beyond_its_deadline_stops_at_its_next_step(opened: Open) -> None:
    options = types_pb2.OutputOptions(diffusion=types_pb2.Diffusion(steps=100))
    stage = await opened(IMAGE)
    with pytest.raises(DeadlineExpired):
        await decoded(stage, caption(IMAGE, options=options), call=new_call(0.05))
    with pytest.raises(DeadlineExpired):
        await decoded(stage, caption(IMAGE), call=new_call(-1))


async def test_other_work_gets_its_turn_between_steps(opened: Open, runtime: Runtime) -> None:
    options = types_pb2.OutputOptions(diffusion=types_pb2.Diffusion(steps=6))
    stage, turns = await opened(IMAGE), []
    async for response in stage.handle(sent([caption(IMAGE, options=options)]), new_call()):
        if response.HasField("progress"):
            turns.append(await runtime.lane.run(lambda: "a turn"))
    assert len(turns) == 6
