"""What a file is, is read from its bytes, not from what is said of it."""

from __future__ import annotations

import time

import numpy as np
import pytest
from PIL import Image

from anygpt.errors import InvalidInput
from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO, Modality
from anygpt_models.input import MediaFacts, Source, probe, probe_claimed
from tests.unit.input.files import Film, halves, plain_frames, saved, sound, tone, video, wav


def test_a_picture_tells_its_size_and_type() -> None:
    assert probe(Source(saved(halves(), "PNG"))) == MediaFacts("image/png", (IMAGE,), 128, 64)


def test_a_turned_photograph_tells_the_size_that_is_seen() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    facts = probe(Source(saved(halves(), "JPEG", exif=exif.tobytes())))
    assert (facts.media_type, facts.width, facts.height) == ("image/jpeg", 64, 128)


@pytest.mark.parametrize(("form", "media_type"), [("GIF", "image/gif"), ("WEBP", "image/webp")])
def test_an_animated_picture_is_a_video_first(form: str, media_type: str) -> None:
    first, *rest = [Image.fromarray(frame) for frame in plain_frames(5)]
    facts = probe(Source(saved(first, form, save_all=True, append_images=rest, duration=200)))
    assert (facts.media_type, facts.modalities) == (media_type, (VIDEO, IMAGE))
    assert facts.duration_ms == 1000
    assert facts.frame_rate == pytest.approx(5)


@pytest.mark.parametrize(
    ("film", "media_type"),
    [
        (Film(), "video/mp4"), (Film("webm", "libvpx-vp9"), "video/webm"), (Film("mov"), "video/quicktime"),
        (Film("matroska"), "video/x-matroska"), (Film("avi", "mpeg4"), "video/x-msvideo"),
    ],
)  # fmt: skip
def test_a_video_tells_size_rate_and_duration(film: Film, media_type: str) -> None:
    facts = probe(Source(video(plain_frames(20), film)))
    assert (facts.media_type, facts.modalities, facts.width, facts.height) == (media_type, (VIDEO,), 96, 64)
    assert facts.duration_ms == pytest.approx(2000, abs=110)
    assert facts.frame_rate == pytest.approx(10, rel=0.1)


def test_a_turned_video_tells_the_size_that_is_seen() -> None:
    facts = probe(Source(video(plain_frames(5), Film(rotation=90))))
    assert (facts.width, facts.height) == (64, 96)


@pytest.mark.parametrize(
    ("form", "codec", "media_type"),
    [("mp3", "libmp3lame", "audio/mpeg"), ("flac", "flac", "audio/flac"), ("ogg", "libopus", "audio/ogg"),
     ("mp4", "aac", "audio/mp4"), ("webm", "libopus", "audio/webm"), ("adts", "aac", "audio/aac")],
)  # fmt: skip
def test_a_sound_tells_rate_channels_and_duration(form: str, codec: str, media_type: str) -> None:
    rate = 48_000 if codec == "libopus" else 44_100
    stereo = np.stack([tone(1.0, rate), tone(1.0, rate)])
    facts = probe(Source(sound(stereo, rate, form, codec)))
    assert (facts.media_type, facts.modalities) == (media_type, (SPEECH, AUDIO))
    assert (facts.sample_rate, facts.channels) == (rate, 2)
    assert facts.duration_ms == pytest.approx(1000, abs=150)


@pytest.mark.parametrize(
    "claim", ["", "audio/wav", "audio/x-wav", "audio/wave; codecs=1", "application/octet-stream"]
)
def test_a_claim_may_be_absent_or_an_alias(claim: str) -> None:
    assert probe_claimed(Source(wav(tone(0.1))), claim, SPEECH).media_type == "audio/wav"


@pytest.mark.parametrize(
    ("claim", "modality"), [("image/png", IMAGE), ("audio/wav", AUDIO), ("image/jpeg", 0), ("", VIDEO)]
)
def test_a_claim_that_the_bytes_contradict_is_refused(claim: str, modality: Modality) -> None:
    data = saved(halves(), "PNG") if claim != "image/png" else b"just some text, named cat.png\n" * 20
    with pytest.raises(InvalidInput) as raised:
        probe_claimed(Source(data, field="parts[1].media"), claim, modality)
    assert (raised.value.reason, raised.value.field) == ("MEDIA_TYPE_MISMATCH", "parts[1].media")


def test_probing_does_not_decode() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), "PNG", compress_level=0)
    began = time.perf_counter()
    assert probe(Source(data)).width == 2000
    assert time.perf_counter() - began < 0.1
