"""Media through the front door: uploads, downloads, presigned URLs."""

from __future__ import annotations

import asyncio
import urllib.request

import pytest

from anygpt.client import AsyncClient, Media, Options, audio
from anygpt.errors import AnyGPTError, DataLoss, InvalidInput, Unserved
from anygpt.topology import AUDIO, IMAGE
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
