"""Each bad request gets its error and field before any work; whoever runs beside it never notices."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anygpt.errors import AnyGPTError, InvalidInput, Precondition, Unserved
from anygpt.stage import now_ms
from anygpt.topology import AUDIO, IMAGE, SPEECH, Modality
from anygpt.v1 import stages_pb2, types_pb2
from services.llm.answer import to_tensor
from services.llm.stage import LlmStage
from tests.tiny_pack import CONTEXT, WIDTH
from tests.unit.llm.asking import ask, call, opened, request

Segment = stages_pb2.PromptSegment
NAN = float("nan")


def features(modality: Modality, shape: tuple[int, ...], value: float = 0.5, **changes: Any) -> Segment:
    """A segment of constant features, its tensor's fields changed at will."""
    tensor = to_tensor(np.full(shape, value, np.float32))
    for name, change in changes.items():
        setattr(tensor, name, change)
    return Segment(features=types_pb2.Features(modality=modality, tensor=tensor))


def codes(modality: Modality, ids: Sequence[int]) -> Segment:
    """A segment of codes."""
    return Segment(codes=types_pb2.Codes(modality=modality, ids=ids))


def second(segment: Segment) -> stages_pb2.GenerateTokensRequest:
    """A request with `segment` as prompt[1]."""
    return request(prompt=[Segment(text="hello"), segment])


def long(length: int, **values: Any) -> stages_pb2.GenerateTokensRequest:
    """A request with a prompt of `length` tokens."""
    return request(prompt=[Segment(tokens=stages_pb2.TokenIds(ids=[7] * length))], **values)


def unknown_want() -> stages_pb2.GenerateTokensRequest:
    """A request for a modality that a later version may have."""
    return stages_pb2.GenerateTokensRequest.FromString(b"\x12\x01\x09")


BAD = {
    "no prompt": (request(prompt=[]), InvalidInput, "prompt"),
    "an empty segment": (second(Segment()), InvalidInput, "prompt[1]"),
    "features of another width": (second(features(IMAGE, (4, WIDTH + 1))), InvalidInput, "prompt[1].features"),
    "too few features": (second(features(IMAGE, (3, WIDTH))), InvalidInput, "prompt[1].features"),
    "features of a thing and a half": (second(features(IMAGE, (7, WIDTH))), InvalidInput, "prompt[1].features"),
    "features without rows": (second(features(IMAGE, (0, WIDTH))), InvalidInput, "prompt[1].features"),
    "features of another type": (second(features(IMAGE, (4, WIDTH), dtype="int8")), InvalidInput, "prompt[1].features"),
    "features cut short": (second(features(IMAGE, (4, WIDTH), data=b"123")), InvalidInput, "prompt[1].features"),
    "NaN in features": (second(features(IMAGE, (4, WIDTH), NAN)), InvalidInput, "prompt[1].features"),
    "features of speech": (second(features(SPEECH, (4, WIDTH))), Unserved, "prompt[1].features"),
    "a code outside its range": (second(codes(SPEECH, [3, 64])), InvalidInput, "prompt[1].codes"),
    "no codes": (second(codes(SPEECH, [])), InvalidInput, "prompt[1].codes"),
    "codes of an image": (second(codes(IMAGE, [1])), Unserved, "prompt[1].codes"),
    "an id outside the vocabulary": (
        second(Segment(tokens=stages_pb2.TokenIds(ids=[99_999]))), InvalidInput, "prompt[1].tokens",
    ),
    "a prompt beyond the context": (long(CONTEXT), InvalidInput, "prompt"),
    "a prompt without room for what is wanted": (long(CONTEXT - 25, want=["video"]), InvalidInput, "prompt"),
    "an unknown modality": (unknown_want(), Unserved, "want[0]"),
    "another vocabulary": (request(vocabulary_digest="other"), Precondition, "vocabulary_digest"),
    "an unknown adapter": (request(adapter="nobody's"), InvalidInput, "adapter"),
    "a negative temperature": (
        request(sampling={"text": {"temperature": -1}}), InvalidInput, "sampling[0].sampling.temperature",
    ),
    "NaN as temperature": (
        request(sampling={"audio": {}, "text": {"temperature": NAN}}), InvalidInput, "sampling[1].sampling.temperature",
    ),
    "top_p of nothing": (request(sampling={"text": {"top_p": 0}}), InvalidInput, "sampling[0].sampling.top_p"),
    "a min_p above one": (request(sampling={"text": {"min_p": 1.5}}), InvalidInput, "sampling[0].sampling.min_p"),
    "no penalty at all": (
        request(sampling={"text": {"repetition_penalty": 0}}), InvalidInput, "sampling[0].sampling.repetition_penalty",
    ),
    "no tokens": (request(sampling={"text": {"max_tokens": 0}}), InvalidInput, "sampling[0].sampling.max_tokens"),
    "too few tokens for a span": (
        request(want=["audio"], sampling={"audio": {"max_tokens": 7}}), InvalidInput, "sampling[0].sampling.max_tokens",
    ),
    "an empty stop string": (request(sampling={"text": {"stop": [""]}}), InvalidInput, "sampling[0].sampling.stop"),
    "a stop string for sound": (
        request(sampling={"audio": {"stop": ["a"]}}), InvalidInput, "sampling[0].sampling.stop",
    ),
}  # fmt: skip


async def test_each_bad_request_gets_its_error_and_nobody_else_notices(stage: LlmStage) -> None:
    good = request(want=["text", "audio"], seed=5)
    expected = await ask(stage, good)
    running = asyncio.create_task(ask(stage, good))
    await asyncio.sleep(0)
    for name, (bad, kind, field) in BAD.items():
        with pytest.raises(AnyGPTError) as caught:
            pytest.fail(f"{name} was answered: {await ask(stage, bad)}")
        assert type(caught.value) is kind or isinstance(caught.value, kind), name
        assert caught.value.field == field, name
    assert (await running).ids == expected.ids


EXTREME = {
    "a temperature of almost nothing": request(sampling={"text": {"temperature": 1e-38, "top_p": 0.9}}),
    "a nucleus of almost nothing": request(sampling={"text": {"temperature": 2, "top_p": 1e-44, "min_p": 1}}),
    "the largest top_k": request(sampling={"text": {"top_k": 2**31 - 1, "repetition_penalty": 0.5}}),
    "features of two things": second(features(IMAGE, (10, WIDTH))),
    "features of any size that their embedding can have": second(features(IMAGE, (4, WIDTH), 1e13)),
}


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "auto"])
async def test_extreme_values_are_served_and_nobody_else_notices(pack: Path, dtype: str) -> None:
    async with opened(pack, dtype=dtype, deterministic=dtype != "auto") as stage:
        good = request(want=["text", "audio"], seed=5)
        expected = await ask(stage, good)
        for name, one in EXTREME.items():
            running = asyncio.create_task(ask(stage, good))
            await asyncio.sleep(0)
            assert (await ask(stage, one)).spans, name
            assert (await running).ids == expected.ids, name


async def test_features_whose_embedding_would_overflow_are_refused(stage: LlmStage) -> None:
    with pytest.raises(InvalidInput) as caught:
        await ask(stage, second(features(IMAGE, (4, WIDTH), 3e38)))
    assert caught.value.field == "prompt[1].features"
    assert caught.value.reason == "FEATURES_OUT_OF_RANGE"


async def test_a_prompt_beyond_the_context_has_its_own_reason(stage: LlmStage) -> None:
    with pytest.raises(InvalidInput) as caught:
        await ask(stage, long(CONTEXT))
    assert caught.value.reason == "CONTEXT_EXCEEDED"


async def test_an_expired_or_cancelled_call_is_refused_before_work(stage: LlmStage) -> None:
    late, gone = call(deadline_ms=now_ms() - 1), call()
    gone.cancel()
    for errand in (late, gone):
        with pytest.raises(AnyGPTError):
            await ask(stage, request(), errand)


async def test_a_prompt_of_all_kinds_of_segments_is_read(stage: LlmStage) -> None:
    segments = [
        Segment(tokens=stages_pb2.TokenIds(ids=[1])),
        Segment(text="look"),
        features(IMAGE, (4, WIDTH)),
        features(AUDIO, (8, WIDTH)),
        codes(SPEECH, [1, 2, 3]),
    ]
    reply = await ask(stage, request(prompt=segments, want=["text"]))
    assert reply.usage.prompt_tokens == 1 + len("look") + (4 + 2) + (8 + 2) + (3 + 2)
