"""What comes back: every pair of modalities, mixtures, order, conversations."""

from __future__ import annotations

import asyncio
from itertools import product

import pytest

from anygpt.answer import TERMINALS, Event
from anygpt.client import AsyncClient, Options, Piece
from anygpt.topology import MODALITIES
from tests.flow.media import sample

ALL = tuple(MODALITIES)


async def events_of(client: AsyncClient, *pieces: Piece, options: Options | None = None) -> list[Event]:
    """All events of one turn."""
    return [event async for event in client.events(*pieces, options=options)]


@pytest.mark.parametrize(("source", "target"), list(product(ALL, ALL)))
async def test_every_modality_turns_into_every_other(client: AsyncClient, source: str, target: str) -> None:
    answer = await client.answer(sample(source), options=Options(want=[target], seed=3))
    assert [span.modality for span in answer.spans.values()] == [target]
    if target == "text":
        assert answer.text
    else:
        (reference,) = answer.media(target)
        told = await client.download(reference.object)
        assert told.startswith(target.encode())


async def test_parts_enter_the_prompt_in_the_order_given(client: AsyncClient) -> None:
    pieces = [sample("image"), sample("audio"), sample("speech"), sample("video"), "recall"]
    answer = await client.answer(*pieces, options=Options(want=["text"]))
    alone = await client.answer("recall", options=Options(want=["text"]))
    assert _recalled(answer.text) - _recalled(alone.text) == 4


async def test_an_answer_may_have_all_five_modalities_each_in_its_place(client: AsyncClient) -> None:
    answer = await client.answer("hello", options=Options(want=["text", "speech", "image", "audio", "video"]))
    spans = [answer.spans[index].modality for index in sorted(answer.spans)]
    assert spans == ["text", "speech", "image", "audio", "video"]


async def test_without_want_the_model_chooses(client: AsyncClient) -> None:
    answer = await client.answer("an image and speech please")
    assert [answer.spans[index].modality for index in sorted(answer.spans)] == ["text", "image", "speech"]


async def test_events_are_numbered_without_gap_and_end_once(client: AsyncClient) -> None:
    events = await events_of(client, "image speech video audio")
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    kinds = [event.WhichOneof("kind") for event in events]
    assert kinds[0] == "started"
    assert [kind for kind in kinds if kind in TERMINALS] == ["finished"] == kinds[-1:]
    for index in {event.span_index for event in events if event.HasField("media_ready")}:
        own = [event.WhichOneof("kind") for event in events if event.span_index == index and index]
        assert own[0] == "span_started"
        assert own[-1] == "span_finished"


async def test_a_conversation_of_five_turns_is_remembered(client: AsyncClient) -> None:
    options = Options(conversation_id=await client.new_conversation(), seed=1)
    lengths = []
    for turn in range(5):
        pieces = [sample("image"), "recall image"] if turn == 1 else ["recall"]
        lengths.append(_recalled((await client.answer(*pieces, options=options)).text))
    assert lengths == sorted(set(lengths))
    record = await client.conversation(options.conversation_id)
    assert record.conversation.turn_count == len(record.turns) == 5
    assert record.turns[1].parts[0].media.object.startswith("uploads/")
    assert record.turns[1].answer[1].media.object.startswith("media/")


async def test_the_same_request_and_seed_give_the_same_media(client: AsyncClient) -> None:
    options = Options(want=["image"], seed=11)
    first, second = [await client.answer("a cat", options=options) for _ in range(2)]
    assert first.media("image")[0].sha256 == second.media("image")[0].sha256
    other = await client.answer("a cat", options=Options(want=["image"], seed=12))
    assert other.media("image")[0].sha256 != first.media("image")[0].sha256


async def test_sixty_four_streams_at_once_each_end_once(client: AsyncClient) -> None:
    runs = await asyncio.gather(*(events_of(client, f"number {i} speech") for i in range(64)))
    for events in runs:
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert events[-1].HasField("finished")


async def test_describe_tells_twenty_five_pairs(client: AsyncClient) -> None:
    told = await client.describe()
    assert len(told.pairs) == 25
    assert {entry.modality for entry in told.modalities if entry.input and entry.output} == set(
        MODALITIES.values()
    )


def _recalled(text: str) -> int:
    """How many segments the prompt had."""
    return int(text.split("recall:")[1].split(maxsplit=1)[0])
