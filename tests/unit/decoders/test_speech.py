"""Speech is heard while its codes are still coming."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from anygpt.errors import InvalidInput
from anygpt.topology import SPEECH
from anygpt.v1 import types_pb2
from anygpt_models.input import Source, open_waveform, probe
from anygpt_models.speech_units import SpeechUnits
from tests.unit.decoders.conftest import Open
from tests.unit.decoders.spans import Request, cancelled_after, caption, codes, decoded, new_call

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "here is a song about a small cat that lives in a big red house near the sea and sings at night"


@pytest.fixture
def units(media_pack: object) -> SpeechUnits:
    return SpeechUnits.from_pretrained(f"{media_pack}/speech_units")


def chunked(ids: list[int], size: int) -> list[Request]:
    parts = [ids[place : place + size] for place in range(0, len(ids), size)]
    requests = [
        Request(modality=SPEECH, chunk_index=place, codes=types_pb2.Codes(ids=part))
        for place, part in enumerate(parts)
    ]
    return [*requests, Request(modality=SPEECH, chunk_index=len(parts), is_last=True)]


async def test_the_chunks_are_the_file(opened: Open, units: SpeechUnits) -> None:
    result = await decoded(await opened(SPEECH), *chunked(units.encode(TEXT), 3))
    ready = result.media.ready.media
    assert [chunk.index for chunk in result.chunks] == list(range(len(result.chunks)))
    played = b"".join(chunk.data for chunk in result.chunks)
    samples = open_waveform(Source(result.media.data))
    assert np.abs(samples - np.frombuffer(played, dtype="<i2") / 32767).max() < 1e-3
    assert ready.duration_ms == pytest.approx(len(played) / 32, abs=1)
    assert (ready.media_type, ready.sample_rate, ready.modality) == ("audio/wav", 16_000, SPEECH)
    assert probe(Source(result.media.data)).duration_ms == pytest.approx(ready.duration_ms, abs=2)


async def test_chunks_cut_anywhere_say_the_same(opened: Open, units: SpeechUnits) -> None:
    stage, ids = await opened(SPEECH), units.encode(TEXT)
    results = [await decoded(stage, *chunked(ids, size)) for size in (1, 7, 1000)]
    results.append(await decoded(stage, codes(SPEECH, ids)))
    results.append(await decoded(stage, caption(SPEECH, TEXT)))
    assert len({result.media.data for result in results}) == 1


async def test_the_first_phrase_is_heard_before_the_span_ends(opened: Open, units: SpeechUnits) -> None:
    stage, requests, heard_at = await opened(SPEECH), chunked(units.encode(TEXT), 2), []
    sent = 0

    async def slowly() -> AsyncIterator[Request]:
        nonlocal sent
        for request in requests:
            sent += 1
            yield request

    async for response in stage.handle(slowly(), new_call()):
        if response.HasField("chunk"):
            heard_at.append(sent)
    assert heard_at[0] < len(requests) * 0.8


async def test_voices_and_seeds_differ_and_repeat(opened: Open) -> None:
    stage = await opened(SPEECH)

    async def said(voice: str, seed: int) -> bytes:
        return (await decoded(stage, caption(SPEECH, TEXT, voice=voice, seed=seed))).media.data

    assert await said("joe", 1) == await said("", 1) == await said("joe", 1)
    assert await said("joe", 1) != await said("heart", 1)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (caption(SPEECH, TEXT, voice="robot"), "voice"),
        (codes(SPEECH, [1, 2, 5000]), "codes.ids"),
        (codes(SPEECH, []), "codes"),
        (caption(SPEECH, TEXT, options=types_pb2.OutputOptions(format="png")), "output.format"),
        (caption(SPEECH, TEXT, options=types_pb2.OutputOptions(diffusion=types_pb2.Diffusion(steps=5))),
         "output.diffusion.steps"),
        (caption(SPEECH, TEXT, options=types_pb2.OutputOptions(duration_s=2)), "output.duration_s"),
        (Request(signals=types_pb2.Signals(), is_last=True), "signals"),
    ],
)  # fmt: skip
async def test_what_cannot_be_said_is_refused_by_its_field(
    opened: Open, request_: Request, field: str
) -> None:
    with pytest.raises(InvalidInput) as raised:
        await decoded(await opened(SPEECH), request_)
    assert raised.value.field == field


async def test_a_cancelled_span_says_no_further_phrase(opened: Open, units: SpeechUnits) -> None:
    requests = chunked(units.encode(f"{TEXT} {TEXT} {TEXT}"), 5)
    seen = await cancelled_after(1, await opened(SPEECH), *requests)
    assert len(seen) <= 3
