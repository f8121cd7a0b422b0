"""Opened decoders around a pack with random weights."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from anygpt.main import Runtime
from anygpt.stage import Stage
from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO, Modality
from services.audio_decoder import settings as audio_settings
from services.audio_decoder import stage as audio
from services.image_decoder import settings as image_settings
from services.image_decoder import stage as image
from services.speech_decoder import settings as speech_settings
from services.speech_decoder import stage as speech
from services.video_decoder import settings as video_settings
from services.video_decoder import stage as video
from tests.unit.decoders.spans import Request, Response

Decoder = Stage[Request, Response]
Open = Callable[[Modality], Awaitable[Decoder]]

BUILDERS: dict[Modality, Callable[[Runtime], Decoder]] = {
    IMAGE: lambda runtime: image.build(image_settings.Settings(), runtime),
    VIDEO: lambda runtime: video.build(video_settings.Settings(), runtime),
    SPEECH: lambda runtime: speech.build(speech_settings.Settings(), runtime),
    AUDIO: lambda runtime: audio.build(audio_settings.Settings(), runtime),
}


@pytest.fixture
def opened(runtime: Runtime) -> Open:
    """Open the decoder of a modality."""

    async def build_and_open(modality: Modality) -> Decoder:
        stage = BUILDERS[modality](runtime)
        await stage.open()
        return stage

    return build_and_open
