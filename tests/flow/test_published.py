"""Packs of the published systems' classes, tiny and random, through every service: what they serve, and what not."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from anygpt.client import AsyncClient, Options, audio, image, video
from anygpt.errors import AnyGPTError
from anygpt.main import find_services, running
from anygpt.settings import ServiceSettings
from services.trainer.pack_build import build
from tests.flow.media import film, sound
from tests.published_pack import SIDE, save_anygpt, save_next_gpt

NAMES = [
    "gateway", "image_encoder", "video_encoder", "audio_encoder", "llm", "image_decoder", "video_decoder",
    "audio_decoder", "speech_encoder", "speech_decoder",
]  # fmt: skip


@asynccontextmanager
async def served(pack: Path, data: Path) -> AsyncIterator[AsyncClient]:
    """Every service on a pack, in this process."""
    settings = ServiceSettings(pack=str(pack), data=data, port=0, metrics_port=-1, threads=1)
    async with (
        running(find_services(NAMES), settings) as process,
        AsyncClient(f"127.0.0.1:{process.port}") as client,
    ):
        yield client


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), 90, dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.timeout(600)
async def test_next_gpt_takes_in_and_gives_out_what_it_has_and_says_what_it_has_not(tmp_path: Path) -> None:
    recipe = save_next_gpt(tmp_path / "parts")
    build(recipe, tmp_path / "parts", tmp_path / "pack")
    async with served(tmp_path / "pack", tmp_path / "data") as client:
        parts = (image(picture()), video(film(8)), audio(sound(1.0)), "What is this?")
        answer = await client.answer(*parts, options=Options(want=["image", "video", "audio"], seed=1))
        assert {span.modality for span in answer.spans.values()} == {"image", "video", "audio"}
        drawn = await client.download(answer.media("image")[0].object)
        with Image.open(io.BytesIO(drawn)) as opened:
            assert opened.size == (SIDE, SIDE)
        filmed = await client.download(answer.media("video")[0].object)
        with av.open(io.BytesIO(filmed), "r") as container:
            assert len(list(container.decode(video=0))) == 2
        with pytest.raises(AnyGPTError, match="speech"):
            await client.answer("Say hello.", options=Options(want=["speech"]))


@pytest.mark.timeout(600)
async def test_anygpt_hears_music_and_gives_music_and_pictures_in_codes(tmp_path: Path) -> None:
    recipe = save_anygpt(tmp_path / "parts")
    build(recipe, tmp_path / "parts", tmp_path / "pack")
    async with served(tmp_path / "pack", tmp_path / "data") as client:
        options = Options(want=["image", "audio"], seed=1)
        answer = await client.answer("Play this again and draw it.", options=options)
        assert {span.modality for span in answer.spans.values()} == {"image", "audio"}
        assert not [span.failure for span in answer.spans.values() if span.failure]
        heard = await client.answer(audio(sound(0.3)), "What is it?", options=Options(want=["text"], seed=1))
        assert [span.modality for span in heard.spans.values()] == ["text"]
