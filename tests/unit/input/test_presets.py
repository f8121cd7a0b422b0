"""The published recipes' tensors have the published shapes."""

from __future__ import annotations

import numpy as np
import pytest

from anygpt_models.input import Source, presets
from tests.unit.input.files import halves, plain_frames, saved, tone, video, wav


@pytest.mark.parametrize("preset", [presets.NEXT_GPT_IMAGE, presets.ANYGPT_IMAGE])
def test_a_picture_has_the_size_and_the_mean_of_clip(preset: presets.ImagePreset) -> None:
    tensor = preset.adapt(Source(saved(halves(), "PNG")))
    assert tensor.shape == (3, 224, 224)
    assert tensor[0].max() == pytest.approx((1 - 0.48145466) / 0.26862954, abs=1e-4)


def test_next_gpt_sees_a_video_in_fifteen_views() -> None:
    tensor = presets.NEXT_GPT_VIDEO.adapt(Source(video(plain_frames(60))))
    assert tensor.shape == (15, 3, 2, 224, 224)
    assert np.all(np.diff(tensor[:, 0, 0, 0, 0][::3]) > 0)


def test_next_gpt_hears_a_sound_in_three_mel_clips() -> None:
    tensor = presets.NEXT_GPT_AUDIO.adapt(Source(wav(tone(10.0, hertz=1000.0))))
    assert tensor.shape == (3, 1, 128, 204)
    loudest = int(tensor[0, 0, :, :198].mean(axis=1).argmax())
    mel = 1127 * np.log1p(np.array([20, 1000, 8000]) / 700)
    assert abs(loudest - 128 * (mel[1] - mel[0]) / (mel[2] - mel[0])) < 3


def test_any_gpt_takes_speech_whole_and_five_seconds_of_music() -> None:
    data = Source(wav(tone(7.0)))
    assert presets.ANYGPT_SPEECH.adapt(data).shape == (112_000,)
    assert presets.ANYGPT_MUSIC.adapt(data).shape == (160_000,)
