"""The pack that is shipped serves every encoder and decoder."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from anygpt.main import Runtime, opened_runtime
from anygpt.pack import packs_folder
from anygpt.settings import ServiceSettings
from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO, Modality
from anygpt.v1 import stages_pb2, types_pb2
from tests.unit.decoders.conftest import BUILDERS
from tests.unit.decoders.spans import caption, decoded, signals
from tests.unit.encoders.test_encoders import SHAPES, encoded
from tests.unit.encoders.test_encoders import opened as opened_encoder
from tests.unit.media_pack import sibling

CAPTIONS = {
    IMAGE: "a cat on a blue background",
    VIDEO: "a car moving left on a white background",
    SPEECH: "draw a cat on a blue background",
    AUDIO: "happy piano music",
}


@pytest.fixture
async def mini(tmp_path: Path) -> AsyncIterator[Runtime]:
    """The mini pack; whether its files are those of the manifest is judged elsewhere."""
    pack = packs_folder() / "mini"
    told = json.loads((pack / "manifest.json").read_text(encoding="utf-8"))
    folder = sibling(pack, tmp_path / "mini", {**told, "files": {}})
    async with opened_runtime(ServiceSettings(pack=str(folder), data=tmp_path)) as opened:
        yield opened


@pytest.mark.parametrize("modality", CAPTIONS)
async def test_what_is_drawn_from_a_caption_goes_back_in(mini: Runtime, modality: Modality) -> None:
    decoder, encoder = BUILDERS[modality](mini), await opened_encoder(mini, modality)
    await decoder.open()
    result = await decoded(decoder, caption(modality, CAPTIONS[modality], seed=1))
    inline = types_pb2.InlineMedia(data=result.media.data, media_type=result.media.ready.media.media_type)
    response = await encoded(encoder, stages_pb2.EncodeRequest(modality=modality, inline=inline))
    if modality == SPEECH:
        assert response.codes.ids
    else:
        assert list(response.features.tensor.shape) == SHAPES[modality]


@pytest.mark.parametrize("modality", [IMAGE, VIDEO, AUDIO])
async def test_signals_are_drawn_the_same_each_time(mini: Runtime, modality: Modality) -> None:
    decoder = BUILDERS[modality](mini)
    await decoder.open()
    results = [await decoded(decoder, signals(modality, seed=4)) for _ in range(2)]
    assert results[0].media.data == results[1].media.data
