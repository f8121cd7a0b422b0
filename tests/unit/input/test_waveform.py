"""Sound of every kind comes out mono, at one rate, as loud as it was."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from anygpt.errors import InvalidInput
from anygpt_models.input import Clips, Hearing, Source, open_waveform, spread
from tests.unit.input.files import plain_frames, sound, tone, video, wav


def pitch(samples: NDArray[np.float32], sample_rate: int = 16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * sample_rate / samples.size)


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        ("flac", "flac"), ("ogg", "libopus"), ("mp3", "libmp3lame"), ("mp4", "aac"),
        ("adts", "aac"), ("webm", "libopus"), ("wav", "pcm_s24le"), ("aiff", "pcm_s16be"), ("au", "pcm_s16be"),
    ],
)  # fmt: skip
def test_stereo_at_any_rate_becomes_mono_at_sixteen_kilohertz(form: str, codec: str) -> None:
    rate = 48_000 if codec == "libopus" else 44_100
    stereo = np.stack([tone(1.0, rate), tone(1.0, rate)])
    samples = open_waveform(Source(sound(stereo, rate, form, codec)))
    assert samples.dtype == np.float32
    assert abs(samples.size - 16_000) < 2_000
    assert abs(pitch(samples) - 440) < 3
    assert 0.4 < np.abs(samples[4000:12000]).max() < 0.6


def test_wav_samples_are_kept_as_they_are() -> None:
    samples = tone(0.5)
    assert np.allclose(open_waveform(Source(wav(samples))), samples, atol=2 / 32768)


def test_the_first_channel_is_taken_where_a_recipe_says_so() -> None:
    stereo = np.stack([tone(1.0, hertz=300), tone(1.0, hertz=900)])
    data = sound(stereo, 16_000, "flac", "flac")
    assert abs(pitch(open_waveform(Source(data), Hearing(channel="first"))) - 300) < 3
    assert np.abs(open_waveform(Source(data)) - stereo.mean(axis=0)).max() < 0.01


@pytest.mark.parametrize("count", [1, 2, 6, 8, 9, 16, 24])
def test_any_number_of_channels_is_mixed(count: int) -> None:
    channels = np.stack([tone(0.5, hertz=300 + 50 * number) for number in range(count)])
    mixed = open_waveform(Source(wav(channels)))
    assert np.abs(mixed - channels.mean(axis=0)).max() < 0.01
    first = open_waveform(Source(wav(channels)), Hearing(channel="first"))
    assert np.abs(first - channels[0]).max() < 0.01


@pytest.mark.parametrize(("channels", "rate"), [(2, 16_000), (1, 44_100)])
def test_a_sound_that_goes_on_in_other_channels_or_at_another_rate_is_heard_whole(
    channels: int, rate: int
) -> None:
    first = sound(tone(1.0)[None], 16_000, "mp3", "libmp3lame")
    second = sound(np.stack([tone(1.0, rate)] * channels), rate, "mp3", "libmp3lame")
    samples = open_waveform(Source(first + second))
    assert abs(samples.size - 32_000) < 4_000
    for half in (samples[4000:12000], samples[-12000:-4000]):
        assert abs(pitch(half) - 440) < 3


def test_only_what_is_needed_is_decoded() -> None:
    data = sound(tone(20.0)[None], 16_000, "flac", "flac")
    assert open_waveform(Source(data), Hearing(cut_s=1.5)).size == 24_000


def test_a_resampled_sound_has_the_rate_asked_for() -> None:
    samples = open_waveform(Source(wav(tone(1.0))), Hearing(sample_rate=32_000))
    assert abs(samples.size - 32_000) < 64
    assert abs(pitch(samples, 32_000) - 440) < 3


def test_short_sound_is_one_window_padded_with_silence() -> None:
    windows = spread(tone(1.0), Clips(2.0, count=3), 16_000)
    assert windows.shape == (1, 32_000)
    assert not windows[0, 16_000:].any()


@pytest.mark.parametrize("count", [1, 5, 31, 32, 33, 100, 640, 2000])
@pytest.mark.parametrize("rate", [800, 8_000, 16_000, 48_000])
def test_the_shortest_sound_is_a_sound(count: int, rate: int) -> None:
    samples = open_waveform(Source(wav(tone(1.0, 32_000)[:count], 32_000)), Hearing(rate))
    assert 1 <= samples.size <= count * rate / 32_000 + 2


def test_a_header_that_promises_a_short_sound_and_has_none_is_cut() -> None:
    with pytest.raises(InvalidInput) as raised:
        open_waveform(Source(wav(tone(1.0)[:20])[:44]))
    assert raised.value.reason == "MEDIA_TRUNCATED"


def test_long_sound_is_spread_from_start_to_end() -> None:
    windows = spread(np.arange(160_000, dtype=np.float32), Clips(2.0, count=3), 16_000)
    assert windows[:, 0].tolist() == [0, 64_000, 128_000]
    assert windows[-1, -1] == 159_999


def test_a_film_without_sound_has_none_to_hear() -> None:
    with pytest.raises(InvalidInput, match="no sound") as raised:
        open_waveform(Source(video(plain_frames(3))))
    assert raised.value.reason == "MEDIA_UNSUPPORTED"
