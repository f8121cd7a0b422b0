"""Opened decoders around a pack with random weights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from anygpt.main import Runtime, opened_runtime
from anygpt.settings import ServiceSettings
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime(media_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Runtime]:
    """One runtime for all tests of a module."""
    settings = ServiceSettings(pack=str(media_pack), data=tmp_path_factory.mktemp("data"))
    async with opened_runtime(settings) as opened:
        yield opened


@pytest.fixture(scope="module")
def opened(runtime: Runtime) -> Open:
    """The decoder of a modality, opened by the first test that asks for it."""
    stages: dict[Modality, Decoder] = {}

    async def build_and_open(modality: Modality) -> Decoder:
        if modality not in stages:
            stage = BUILDERS[modality](runtime)
            await stage.open()
            stages[modality] = stage
        return stages[modality]

    return build_and_open
