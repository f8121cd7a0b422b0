"""The whole system with the mini pack in one process: every pair for real, and answers that are about the question."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from itertools import product
from typing import Any

import av
import grpc
import pytest
from PIL import Image

from anygpt import topology
from anygpt.client import AsyncClient, Media, Options, Piece, audio, image, speech, video
from anygpt.errors import InvalidInput
from anygpt.pack import packs_folder
from anygpt.topology import MODALITIES
from anygpt.v1 import stages_pb2, stages_pb2_grpc
from tests.bench.mini import MiniService
from tests.flow.conftest import EMBEDDED
from tests.flow.media import film, sound

SAMPLES = packs_folder() / "mini" / "samples"
QUESTIONS: dict[str, list[Piece]] = {
    "text": ["Draw a cat on a blue background."],
    "image": [image(SAMPLES / "picture.png"), "What is this?"],
    "video": [video(film(24)), "What is this?"],
    "speech": [speech(SAMPLES / "instruction.wav")],
    "audio": [audio(sound(4.0)), "What is this?"],
}


@pytest.fixture(scope="module")
def mini_address() -> Iterator[str]:
    """`anygpt serve`, as a person starts it."""
    with MiniService("trainer", EMBEDDED) as service:
        yield service.address


@pytest.fixture
async def mini(mini_address: str) -> AsyncIterator[AsyncClient]:
    """A client of it."""
    async with AsyncClient(mini_address) as client:
        yield client


async def ask(client: AsyncClient, *pieces: Piece, want: str = "", conversation: str = "") -> dict[str, str]:
    """The first span of each modality: its text, or its object id."""
    options = Options(want=[name for name in want.split(",") if name], conversation_id=conversation, seed=5)
    answer = await client.answer(*pieces, options=options)
    found: dict[str, str] = {}
    for _, span in sorted(answer.spans.items()):
        assert span.failure is None
        found.setdefault(span.modality, span.media.object if span.media else span.text)
    return found


async def test_silence_in_the_place_of_speech_is_told_as_such(mini: AsyncClient) -> None:
    with pytest.raises(InvalidInput) as caught:
        await mini.answer(speech(sound(1.0, 0)), options=Options(want=["text"]))
    assert (caught.value.reason, caught.value.field) == ("MEDIA_BLANK", "parts[0].media")


@pytest.mark.parametrize(("source", "target"), list(product(MODALITIES, MODALITIES)))
async def test_every_pair_gives_media_that_opens(mini: AsyncClient, source: str, target: str) -> None:
    found = await ask(mini, *QUESTIONS[source], want=target)
    assert list(found) == [target]
    if target == "text":
        assert found["text"].strip()
        return
    data = io.BytesIO(await mini.download(found[target]))
    if target == "image":
        with Image.open(data) as picture:
            picture.load()
        return
    with av.open(data, "r") as container:
        kind = "video" if target == "video" else "audio"
        assert len(list(container.decode(**{kind: 0}))) > 1


async def test_a_picture_is_named(mini: AsyncClient) -> None:
    assert "dog" in (await ask(mini, *QUESTIONS["image"], want="text"))["text"]


async def test_what_a_decoder_draws_from_a_caption_is_named_by_the_system(
    mini: AsyncClient, mini_address: str
) -> None:
    async with grpc.aio.insecure_channel(mini_address) as channel:
        decoder: Any = stages_pb2_grpc.DecoderServiceStub(channel)
        request = stages_pb2.DecodeRequest(
            modality=topology.IMAGE, caption="a pizza on a green background", is_last=True, seed=5
        )
        responses = [response async for response in decoder.Decode(_once(request))]
    told = await ask(mini, Media(responses[-1].media.data, "image"), "What is in this picture?", want="text")
    assert "pizza" in told["text"]
    assert "green" in told["text"]


async def _once(request: stages_pb2.DecodeRequest) -> AsyncIterator[stages_pb2.DecodeRequest]:
    yield request


async def test_a_spoken_instruction_is_followed_without_being_told_the_modality(mini: AsyncClient) -> None:
    assert "audio" in await ask(mini, *QUESTIONS["speech"])


async def test_plain_questions_are_answered_in_plain_text(mini: AsyncClient) -> None:
    found = await ask(mini, "What is the capital of France?")
    assert list(found) == ["text"]
    assert "Paris" in found["text"]


async def test_a_follow_up_is_about_the_turn_before(mini: AsyncClient) -> None:
    conversation = await mini.new_conversation()
    await ask(mini, *QUESTIONS["image"], want="text", conversation=conversation)
    said = await ask(mini, "Now say that aloud.", want="speech", conversation=conversation)
    heard = await ask(
        mini, Media(await mini.download(said["speech"]), "speech"), "What did I say?", want="text"
    )
    assert "dog" in heard["text"]


async def test_the_same_seed_gives_the_same_picture(mini: AsyncClient) -> None:
    options = Options(want=["image"], seed=3)
    first, second = [await mini.answer("Draw a red car.", options=options) for _ in range(2)]
    assert first.media("image")[0].sha256 == second.media("image")[0].sha256
