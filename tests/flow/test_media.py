"""Media through the front door: uploads, downloads, presigned URLs."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest

from anygpt.client import AsyncClient, Media, Options, audio, speech
from anygpt.errors import AnyGPTError, DataLoss, InvalidInput, Unserved
from anygpt.topology import AUDIO, IMAGE, SPEECH, VIDEO
from tests.flow.media import film, picture, sound


async def test_what_is_uploaded_comes_back_with_its_facts(client: AsyncClient) -> None:
    reference = await client.upload(Media(picture()))
    assert (reference.media_type, reference.modality) == ("image/png", IMAGE)
    assert (reference.width, reference.height) == (64, 48)
    assert await client.download(reference.object) == picture()


async def test_a_film_tells_its_size_rate_and_length(client: AsyncClient) -> None:
    reference = await client.upload(Media(film()))
    assert reference.media_type == "video/mp4"
    assert (reference.width, reference.frame_rate, reference.duration_ms) == (64, 8.0, 1000)


async def test_large_media_goes_by_upload_and_is_understood(client: AsyncClient) -> None:
    long = sound(12.0)
    assert len(long) > 256 * 1024
    answer = await client.answer(audio(long), "recall", options=Options(want=["text"]))
    assert "recall" in answer.text


async def test_a_wrong_digest_is_data_loss(client: AsyncClient) -> None:
    with pytest.raises(DataLoss) as caught:
        await client.upload(Media(picture()), sha256="0" * 64)
    assert caught.value.field == "header.sha256"


async def test_an_empty_upload_is_refused(client: AsyncClient) -> None:
    with pytest.raises(InvalidInput) as caught:
        await client.upload(Media(b""))
    assert caught.value.reason == "MEDIA_EMPTY"


async def test_speech_and_audio_are_told_apart_by_the_request(client: AsyncClient) -> None:
    reference = await client.upload(audio(sound()))
    assert reference.modality == AUDIO
    assert (await client.answer(reference, "image")).media("image")


async def test_another_tenant_cannot_download(client: AsyncClient, address: str) -> None:
    reference = await client.upload(Media(picture()))
    async with AsyncClient(address, "stranger") as stranger:
        with pytest.raises(AnyGPTError) as caught:
            await stranger.download(reference.object)
    assert caught.value.code == 5


async def test_media_goes_in_and_out_by_presigned_urls(distributed_address: str) -> None:
    async with AsyncClient(distributed_address) as client:
        url, upload_id = await client.upload_url(IMAGE, len(picture()))
        await asyncio.to_thread(_put, url, picture())
        reference = await client.complete_upload(upload_id)
        assert (reference.width, reference.media_type) == (64, "image/png")
        fetched = await asyncio.to_thread(_get, await client.download_url(reference.object))
        assert fetched == picture()


async def test_without_a_store_server_presigned_urls_are_not_served(embedded_address: str) -> None:
    async with AsyncClient(embedded_address) as client:
        with pytest.raises(Unserved):
            await client.upload_url(IMAGE, 10)


def _put(url: str, data: bytes) -> None:
    urllib.request.urlopen(urllib.request.Request(url, data, method="PUT")).close()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:
        return bytes(response.read())


async def test_one_file_is_read_as_each_modality_that_it_is_given_as(client: AsyncClient) -> None:
    asked = Options(want=["text"])
    alone = await client.answer(speech(sound()), "digest", options=asked)
    both = await client.answer(speech(sound()), audio(sound()), "digest", options=asked)
    other = await client.answer(audio(sound()), speech(sound()), "digest", options=asked)
    twice = await client.answer(speech(sound()), speech(sound()), "digest", options=asked)
    assert len({answer.text for answer in (alone, both, other, twice)}) == 4


async def test_what_was_given_as_speech_can_be_given_as_the_film_that_it_is(client: AsyncClient) -> None:
    reference = await client.upload(Media(film()))
    for modality in (VIDEO, SPEECH, VIDEO, AUDIO):
        reference.modality = modality
        assert (await client.answer(reference, "recall", options=Options(want=["text"]))).text
    reference.modality = IMAGE
    with pytest.raises(InvalidInput) as caught:
        await client.answer(reference, "recall")
    assert caught.value.reason == "MODALITY_MISMATCH"


async def test_a_conversation_goes_on_after_an_answer_in_which_nothing_is_heard(client: AsyncClient) -> None:
    conversation = await client.new_conversation()
    options = Options(conversation_id=conversation)
    made = (await client.answer("audio", options=options)).media("audio")[0]
    assert "recall" in (await client.answer("recall", options=options)).text
    with pytest.raises(InvalidInput) as caught:
        await client.answer(made, "recall", options=options)
    assert (caught.value.reason, caught.value.field) == ("MEDIA_BLANK", "parts[0].media")
    assert "recall" in (await client.answer("recall", options=options)).text
