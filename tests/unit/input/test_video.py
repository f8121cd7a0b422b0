"""Moving pictures of every kind come out upright, at the times asked for."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from anygpt_models.input import Clips, Fit, Source, Viewing, open_video, probe
from tests.unit.input.files import BLUE, RED, Film, halves, plain_frames, saved, video

FIT = Fit(32, "stretch")


def greys(data: bytes, viewing: Viewing) -> list[list[int]]:
    """The brightness of each frame of each clip."""
    clips = open_video(Source(data), viewing, FIT)
    assert clips.dtype == np.uint8
    return [[int(frame[16, 16, 1]) for frame in clip] for clip in clips]


@pytest.mark.parametrize(
    "film",
    [
        Film(), Film("webm", "libvpx-vp9"), Film("matroska", "mpeg4"), Film("avi", "mpeg4"), Film("mpegts", "libx264"),
        Film("mov", "mpeg4"), Film("mp4", "libx264", options={"movflags": "frag_keyframe+empty_moov"}),
    ],
    ids=lambda film: f"{film.form}-{film.codec}",
)  # fmt: skip
def test_frames_come_at_the_times_asked_for(film: Film) -> None:
    shades = greys(video(plain_frames(20), film), Viewing(Clips(2.0), 4))
    assert len(shades) == 1
    assert np.allclose(shades[0], [0, 67, 134, 201], atol=16)


def test_a_variable_frame_rate_holds_each_frame_until_the_next() -> None:
    film = Film(times=(0.0, 0.9, 1.0, 1.1))
    shades = greys(video(plain_frames(4), film), Viewing(Clips(1.2), 6))
    assert np.allclose(shades[0], [0, 0, 0, 0, 0, 170], atol=8)


def test_a_video_shorter_than_the_window_holds_its_last_frame() -> None:
    shades = greys(video(plain_frames(5)), Viewing(Clips(2.0), 4))
    assert np.allclose(shades[0], [0, 255, 255, 255], atol=8)


def test_a_long_video_is_seen_in_clips_from_start_to_end() -> None:
    shades = greys(video(plain_frames(100)), Viewing(Clips(2.0, count=3), 2))
    assert np.allclose([clip[0] for clip in shades], [0, 103, 206], atol=8)


def test_what_lies_between_distant_clips_is_jumped_over() -> None:
    data = video(plain_frames(60), Film(rate=1))
    shades = greys(data, Viewing(Clips(2.0, count=3), 2))
    assert np.allclose([clip[0] for clip in shades], [0, 125, 251], atol=8)


@pytest.mark.parametrize(("rotation", "top"), [(90, BLUE), (-90, RED), (180, BLUE)])
def test_a_phone_video_is_turned_upright(rotation: int, top: tuple[int, int, int]) -> None:
    film = Film(rotation=rotation)
    clips = open_video(
        Source(video([np.asarray(halves())] * 4, film)), Viewing(Clips(0.4), 1), Fit(32, "pad")
    )
    frame = clips[0, 0].astype(int)
    corner = frame[2, 16] if rotation != 180 else frame[16, 2]
    assert np.abs(corner - np.array(top)).max() < 60


def test_odd_sizes_are_read() -> None:
    frames = plain_frames(6, width=101, height=63)
    assert greys(video(frames, Film("mp4", "libx264")), Viewing(Clips(0.6), 2))[0][0] < 16


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animated_picture_is_a_video(form: str) -> None:
    first, *rest = [Image.fromarray(frame) for frame in plain_frames(4)]
    data = saved(first, form, save_all=True, append_images=rest, duration=250, loop=0)
    shades = greys(data, Viewing(Clips(1.0), 4))
    assert np.allclose(shades[0], [0, 85, 170, 255], atol=12)


def test_a_picture_that_stands_before_an_animation_is_no_frame_of_it() -> None:
    first, *rest = [Image.fromarray(frame) for frame in plain_frames(4)]
    poster = Image.new("RGB", first.size, (200, 0, 0))
    data = saved(poster, "PNG", save_all=True, append_images=[first, *rest], duration=250, default_image=True)
    shades = greys(data, Viewing(Clips(1.0), 4))
    assert np.allclose(shades[0], [0, 85, 170, 255], atol=12)


def test_frames_of_a_gif_that_name_no_time_stand_a_tenth_of_a_second() -> None:
    first, *rest = [Image.fromarray(frame) for frame in plain_frames(4)]
    data = saved(first, "GIF", save_all=True, append_images=rest, duration=0)
    assert probe(Source(data)).duration_ms == 400


def test_the_same_file_gives_the_same_frames() -> None:
    data = video(plain_frames(40))
    viewing = Viewing(Clips(1.0, count=3), 4)
    assert np.array_equal(open_video(Source(data), viewing, FIT), open_video(Source(data), viewing, FIT))


def test_the_last_frame_of_a_clip_may_be_its_end() -> None:
    shades = greys(video(plain_frames(41)), Viewing(Clips(2.0, count=2), 2, to_end=True))
    assert np.allclose(shades[0][1], 128, atol=16)


def test_a_huge_frame_costs_little_memory() -> None:
    pictures = [Image.new("RGBA", (2500, 2500), (shade, 0, 0, 255)) for shade in (10, 250)]
    data = saved(pictures[0], "GIF", save_all=True, append_images=pictures[1:], duration=500)
    tracemalloc.start()
    open_video(Source(data), Viewing(Clips(1.0), 2), FIT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40_000_000
