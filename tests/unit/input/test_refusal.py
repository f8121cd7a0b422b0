"""Bad media get a clear error with a stable reason and their field, at once; nothing else ever comes out."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from anygpt.errors import AnyGPTError
from anygpt.settings import LimitSettings
from anygpt_models.input import (
    Clips,
    Fit,
    Source,
    Viewing,
    open_image,
    open_video,
    open_waveform,
    probe,
)  # fmt: skip
from tests.unit.input.files import (
    Film,
    for_the_web,
    halves,
    plain_frames,
    png_bomb,
    saved,
    sound,
    tone,
    video,
    wav,
)

VIEWING = Viewing(Clips(1.0, count=2), 4)


def see(source: Source) -> object:
    return open_video(source, VIEWING, Fit(32))


OPENERS: tuple[Callable[[Source], object], ...] = (probe, open_image, see, open_waveform)


def refused(opener: Callable[[Source], object], data: bytes, limits: LimitSettings | None = None) -> str:
    """The reason of a refusal that names its field and comes within a second."""
    began = time.perf_counter()
    with pytest.raises(AnyGPTError) as raised:
        opener(Source(data, limits or LimitSettings(), "parts[0].media"))
    assert time.perf_counter() - began < 1.0
    assert raised.value.field == "parts[0].media"
    return raised.value.reason


@pytest.mark.parametrize("opener", OPENERS)
def test_an_empty_file_is_refused(opener: Callable[[Source], object]) -> None:
    assert refused(opener, b"") == "MEDIA_EMPTY"


@pytest.mark.parametrize("opener", OPENERS)
def test_text_is_no_media(opener: Callable[[Source], object]) -> None:
    assert refused(opener, b"The quick brown fox. " * 50) == "MEDIA_UNREADABLE"


@pytest.mark.parametrize("opener", OPENERS)
def test_a_playlist_that_names_other_files_is_no_media(opener: Callable[[Source], object]) -> None:
    for text in (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\nfile '/etc/passwd'\n"):
        assert refused(opener, text) == "MEDIA_UNREADABLE"


@pytest.mark.parametrize("opener", OPENERS)
def test_a_file_beyond_the_size_limit_is_refused(opener: Callable[[Source], object]) -> None:
    assert refused(opener, bytes(2000), LimitSettings(media_bytes=1000)) == "MEDIA_TOO_LARGE"


@pytest.mark.parametrize("side", [8_000, 12_000, 60_000])
@pytest.mark.parametrize("opener", [probe, open_image])
def test_a_bomb_is_refused_by_its_header(opener: Callable[[Source], object], side: int) -> None:
    assert refused(opener, png_bomb(side)) == "MEDIA_TOO_LARGE"


def test_a_video_of_too_many_pixels_is_refused() -> None:
    data = video(plain_frames(3, 640, 480))
    assert refused(see, data, LimitSettings(image_pixels=100_000)) == "MEDIA_TOO_LARGE"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_truncated_picture_is_refused(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), form)
    assert refused(open_image, data[: len(data) // 2]) in ("MEDIA_TRUNCATED", "MEDIA_UNREADABLE")


@pytest.mark.parametrize("index", ["last", "first"])
def test_a_truncated_video_is_refused(index: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (50, 64, 64, 3), dtype=np.uint8)
    data = video(list(noise)) if index == "last" else for_the_web(video(list(noise)), tmp_path / "web.mp4")
    assert refused(see, data[: len(data) // 3]) == "MEDIA_TRUNCATED"


def test_a_truncated_wav_is_refused() -> None:
    data = wav(tone(4.0))
    assert refused(open_waveform, data[: len(data) // 2]) == "MEDIA_TRUNCATED"


def whole_files() -> dict[str, bytes]:
    """Of each format that tells its own length, a file."""
    first, *rest = [Image.fromarray(frame) for frame in plain_frames(9)]
    moving = {
        form: saved(first, form, save_all=True, append_images=rest, duration=100)
        for form in ("GIF", "PNG", "WEBP")
    }
    films = {
        "webm": Film("webm", "libvpx-vp9"),
        "matroska": Film("matroska"),
        "avi": Film("avi", "mpeg4"),
        "mp4": Film(),
    }
    sounds = {"wav": wav(tone(2.0)), "ogg": sound(tone(2.0)[None], 48_000, "ogg", "libopus")}
    return {**moving, **sounds, **{name: video(plain_frames(30), film) for name, film in films.items()}}


@pytest.mark.parametrize("name", ["GIF", "PNG", "WEBP", "webm", "matroska", "avi", "mp4", "wav", "ogg"])
def test_a_file_that_tells_its_length_is_refused_at_the_door_when_it_is_shorter(name: str) -> None:
    data = whole_files()[name]
    probe(Source(data))
    assert {refused(probe, data[: len(data) * share // 8]) for share in (5, 6, 7)} == {"MEDIA_TRUNCATED"}


def test_an_animation_of_too_many_pixels_is_refused_before_any_is_drawn() -> None:
    frame = b"!\xf9\4\0\2\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    bomb = b"GIF89a" + struct.pack("<HH", 5000, 5000) + b"\x80\0\0\0\0\0\xff\xff\xff" + frame * 20_000 + b";"
    began = time.perf_counter()
    assert refused(probe, bomb) == refused(see, bomb) == "MEDIA_TOO_LARGE"
    assert time.perf_counter() - began < 1.0


def test_four_hours_are_refused_by_the_header() -> None:
    data = bytearray(wav(np.zeros(16_000, dtype=np.float32)))
    hours = sound(np.zeros((1, 8000 * 60 * 20), dtype=np.float32), 8_000, "flac", "flac")
    assert refused(probe, hours) == "MEDIA_TOO_LONG"
    assert refused(open_waveform, hours) == "MEDIA_TOO_LONG"
    data[40:44] = struct.pack("<I", 4 * 3600 * 32_000)
    data[4:8] = struct.pack("<I", 4 * 3600 * 32_000 + 36)
    assert refused(open_waveform, bytes(data)) in ("MEDIA_TRUNCATED", "MEDIA_TOO_LONG")


def test_a_duration_that_the_header_hides_is_counted() -> None:
    data = bytearray(sound(tone(30.0)[None], 16_000, "flac", "flac"))
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])
    assert refused(open_waveform, bytes(data), LimitSettings(media_duration_ms=5_000)) == "MEDIA_TOO_LONG"
    film = Film("webm", "libvpx-vp9", options={"live": "1"})
    assert (
        refused(see, video(plain_frames(80), film), LimitSettings(media_duration_ms=5_000))
        == "MEDIA_TOO_LONG"
    )


def test_a_streamed_wav_with_no_length_is_heard() -> None:
    data = bytearray(wav(tone(1.0)))
    data[40:44] = data[4:8] = b"\xff\xff\xff\xff"
    assert open_waveform(Source(bytes(data))).size == 16_000


@pytest.mark.parametrize(("opener", "data"), [(open_image, wav(tone(0.1))), (see, wav(tone(0.1)))])
def test_media_of_another_kind_are_refused(opener: Callable[[Source], object], data: bytes) -> None:
    assert refused(opener, data) in ("MEDIA_UNSUPPORTED", "MEDIA_UNREADABLE")


@cache
def good_files() -> list[bytes]:
    picture = halves(side=24)
    first, *rest = [Image.fromarray(frame) for frame in plain_frames(4, 32, 32)]
    frames = plain_frames(6, 32, 32)
    pictures = [
        saved(picture, form) for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "AVIF", "QOI", "JPEG2000")
    ]
    moving = [
        saved(first, form, save_all=True, append_images=rest, duration=100) for form in ("GIF", "WEBP", "PNG")
    ]
    films = [Film(), Film("webm", "libvpx-vp9"), Film("mpegts", "mpeg4"), Film("avi", "mpeg4")]
    sounds = [("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libopus"), ("adts", "aac")]
    heard = [sound(tone(0.3)[None], 48_000, form, codec) for form, codec in sounds]
    return [*pictures, *moving, *(video(frames, film) for film in films), wav(tone(0.2)), *heard]


def opened_or_refused(data: bytes) -> None:
    """Whatever the bytes: a result, or an AnyGPTError. Warnings are errors here, so none leaks either."""
    source = Source(data, LimitSettings(image_pixels=2_000_000, media_duration_ms=60_000))
    for opener in OPENERS:
        error = fault_of(opener, source)
        assert error is None or (error.field == "media" and error.reason.startswith("MEDIA_"))


def fault_of(opener: Callable[[Source], object], source: Source) -> AnyGPTError | None:
    try:
        opener(source)
    except AnyGPTError as error:
        return error
    return None


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=4096))
def test_random_bytes_are_opened_or_refused(data: bytes) -> None:
    opened_or_refused(data)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_damaged_files_are_opened_or_refused(data: st.DataObject) -> None:
    damaged = bytearray(data.draw(st.sampled_from(good_files())))
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, min(len(damaged) - 1, data.draw(st.sampled_from([64, 512, 10**6])))))
        damaged[place] = data.draw(st.integers(0, 255))
    opened_or_refused(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
