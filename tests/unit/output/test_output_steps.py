"""Adaptation of output: every step does what it reports, and every file opens again as what was asked for."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO
from anygpt.v1 import types_pb2
from anygpt_models.output import Clip, Picture, Sound, apply, encode, fitted, plan
from anygpt_models.output.loudness import integrated, limited, peak_db


def options(**asked: object) -> types_pb2.OutputOptions:
    return types_pb2.OutputOptions(**asked)  # type: ignore[arg-type]


def picture() -> Picture:
    row, column = np.mgrid[:96, :128]
    disc = (row - 48) ** 2 + (column - 64) ** 2 < 900
    pixels = np.where(disc[..., None], (220, 60, 40), (70, 110, 220)) + np.random.default_rng(0).normal(
        0, 6, (96, 128, 3)
    )
    return Picture(np.clip(pixels, 0, 255).astype(np.uint8))


def clip(frames: int = 8) -> Clip:
    """A red square that moves eight pixels a frame."""
    pixels = np.full((frames, 64, 96, 3), 240, np.uint8)
    for place in range(frames):
        pixels[place, 24:40, 4 + 8 * place : 20 + 8 * place] = (220, 40, 40)
    return Clip(pixels, 8.0)


def sound(seconds: float = 3.0, rate: int = 16_000) -> Sound:
    time = np.arange(round(seconds * rate)) / rate
    return Sound(
        (0.05 * np.sin(2 * np.pi * 440 * time) * (1 + np.sin(2 * np.pi * 2 * time))).astype(np.float32), rate
    )


def opened_sound(data: bytes) -> tuple[NDArray[np.float32], int]:
    with av.open(io.BytesIO(data), mode="r") as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", "mono", stream.rate)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        return np.concatenate([frame.to_ndarray()[0] for frame in frames]), stream.rate


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_a_picture_opens_again_with_the_size_that_was_asked_for(form: str) -> None:
    done, reports = apply(plan(IMAGE, options(width=300)), picture())
    data, media_type = encode(done, form)
    with Image.open(io.BytesIO(data)) as again:
        assert again.size == (300, 225)
        assert Image.MIME[again.format or ""] == media_type
    assert [(report.step, report.before, report.after) for report in reports] == [
        ("resize", 128 * 96, 300 * 225)
    ]


def test_denoising_lowers_noise_and_keeps_edges() -> None:
    done, [report] = apply(plan(IMAGE, options(denoise=0.7)), picture())
    assert report.step == "denoise"
    assert report.after < 0.5 * report.before
    assert isinstance(done, Picture)
    assert done.pixels[48, 64, 0] > 200
    assert done.pixels[48, 4, 0] < 90


def test_sharpening_raises_sharpness_without_halos() -> None:
    soft = Picture(
        np.asarray(Image.fromarray(picture().pixels).resize((384, 288), Image.Resampling.BILINEAR))
    )
    done, [report] = apply(plan(IMAGE, options(sharpen=1.0)), soft)
    assert report.after > 1.2 * report.before
    assert isinstance(done, Picture)
    assert done.pixels.max() <= soft.pixels.max() + 2


@pytest.mark.parametrize(
    ("form", "rate", "fit"), [("ogg", 32_000, 48_000), ("mp3", 10_000, 11_025), ("wav", 10_000, 10_000)]
)
def test_a_sound_is_brought_to_a_rate_that_its_format_has_and_that_is_told(
    form: str, rate: int, fit: int
) -> None:
    done, reports = fitted(sound(1.0, rate), form)
    assert isinstance(done, Sound)
    assert [(report.before, report.after) for report in reports] == [(rate, fit)][: fit != rate]
    assert opened_sound(encode(done, form)[0])[1] == done.sample_rate == fit


@pytest.mark.parametrize(("form", "size"), [("mp4", (34, 32)), ("webm", (33, 31)), ("gif", (33, 31))])
def test_a_clip_of_odd_sides_is_as_large_as_is_told(form: str, size: tuple[int, int]) -> None:
    done, _ = fitted(apply(plan(VIDEO, options(width=33, height=31)), clip())[0], form)
    assert isinstance(done, Clip)
    with av.open(io.BytesIO(encode(done, form)[0]), mode="r") as container:
        frame = next(container.decode(video=0))
        assert (frame.width, frame.height) == size == done.frames.shape[2:0:-1]


@pytest.mark.parametrize("form", ["mp4", "webm"])
def test_a_clip_opens_again_with_its_size_its_rate_and_its_frames(form: str) -> None:
    done, _ = apply(plan(VIDEO, options(width=160, height=120, frame_rate=20)), clip())
    data, _ = encode(done, form)
    with av.open(io.BytesIO(data), mode="r") as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert float(stream.average_rate or 0) == pytest.approx(20, rel=0.01)
    assert [frame.shape for frame in frames] == [(120, 160, 3)] * 20


def test_a_gif_opens_again_with_its_size_and_its_duration() -> None:
    done, _ = apply(plan(VIDEO, options(width=160, frame_rate=20)), clip())
    with Image.open(io.BytesIO(encode(done, "gif")[0])) as again:
        assert again.size == (160, 107)
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(again)) == 1000


def test_a_frame_in_between_shows_the_thing_halfway_and_no_ghost() -> None:
    done, [report] = apply(plan(VIDEO, options(frame_rate=16)), clip())
    assert isinstance(done, Clip)
    assert (report.metric, report.before, report.after) == ("frames a second", 8, 16)
    reddish = done.frames[5, 32, :, 1] < 140
    # Frame 5 lies between a square at 20 to 35 and one at 28 to 43.
    found = np.flatnonzero(reddish)
    assert 12 <= len(found) <= 18
    assert found.mean() == pytest.approx(31.5, abs=1.0)


def test_a_lower_frame_rate_keeps_the_duration() -> None:
    done, _ = apply(plan(VIDEO, options(frame_rate=4)), clip())
    assert isinstance(done, Clip)
    assert len(done.frames) == 4


@pytest.mark.parametrize("form", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_a_sound_opens_again_with_its_rate_its_length_and_its_loudness(form: str, rate: int) -> None:
    done, reports = apply(plan(AUDIO, options(sample_rate=rate, loudness_lufs=-20.0)), sound())
    done, _ = fitted(done, form)
    samples, opened_rate = opened_sound(encode(done, form)[0])
    assert opened_rate == (48_000 if form == "ogg" else rate)
    assert len(samples) / opened_rate == pytest.approx(3.0, abs=0.1)
    assert integrated(samples, opened_rate) == pytest.approx(-20.0, abs=0.5)
    assert [report.step for report in reports] == ["resample", "loudness", "limit"]


def test_loudness_of_a_full_scale_tone_is_what_the_recommendation_says() -> None:
    time = np.arange(48_000 * 5) / 48_000
    tone = np.sin(2 * np.pi * 997 * time).astype(np.float32)
    assert integrated(tone, 48_000) == pytest.approx(-3.01, abs=0.02)


def test_a_loudness_beyond_the_peaks_is_reached_through_the_limiter() -> None:
    peaky = sound().samples.copy()
    peaky[::4000] = 0.9
    done, reports = apply(plan(SPEECH, options(loudness_lufs=-14.0)), Sound(peaky, 16_000))
    assert isinstance(done, Sound)
    assert integrated(done.samples, 16_000) == pytest.approx(-14.0, abs=0.5)
    assert peak_db(done.samples) <= -0.999
    assert reports[1].before > reports[1].after


def test_silence_and_a_click_stay_what_they_are() -> None:
    for samples in (np.zeros(0, np.float32), np.zeros(1000, np.float32)):
        done, _ = apply(
            plan(AUDIO, options(loudness_lufs=-14.0, denoise=1.0, sample_rate=8000)), Sound(samples, 16_000)
        )
        assert isinstance(done, Sound)
        assert not done.samples.any()


def test_noise_under_a_sound_gets_softer_and_the_sound_stays() -> None:
    clean = np.concatenate([np.zeros(16_000, np.float32), sound(2.0).samples])
    noisy = clean + np.random.default_rng(0).normal(0, 0.003, 48_000).astype(np.float32)
    done, [report] = apply(plan(AUDIO, options(denoise=1.0)), Sound(noisy, 16_000))
    assert isinstance(done, Sound)
    assert report.after < report.before - 6
    assert np.corrcoef(done.samples, clean)[0, 1] > 0.99


def test_the_limiter_leaves_soft_sound_alone() -> None:
    soft = sound().samples
    assert (limited(soft, 16_000, -1.0) == soft).all()


def test_the_same_media_give_the_same_bytes() -> None:
    for media, form in (
        (picture(), "webp"),
        (clip(), "mp4"),
        (clip(), "webm"),
        (sound(), "ogg"),
        (sound(), "mp3"),
    ):
        assert encode(media, form) == encode(media, form)
