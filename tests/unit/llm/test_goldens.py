"""Fifty greedy answers of the mini pack in float32, in text and in each modality's span, as transformers gives them."""

from __future__ import annotations

import asyncio
import json

import pytest

from anygpt.pack import open_pack
from anygpt.v1 import stages_pb2
from services.llm.settings import LlmSettings
from tests.unit.llm.asking import Reply, ask, opened_pack, request
from tests.unit.llm.goldens import FILE, MOST, digest, made

GOLDENS = json.loads(FILE.read_text())


def test_the_goldens_are_of_the_model_at_hand_and_fifty_in_all_modalities() -> None:
    assert GOLDENS["digest"] == digest(open_pack("mini"))
    wanted = [one["want"] for one in GOLDENS["answers"]]
    assert len(wanted) == 50
    assert {wanted.count(name) for name in ("text", "image", "video", "speech", "audio")} == {10}
    assert len({tuple(one["ids"]) for one in GOLDENS["answers"] if one["want"] in ("text", "speech")}) > 12


async def test_greedy_answers_are_those_of_transformers_token_for_token() -> None:
    cache = LlmSettings().cache
    async with opened_pack("mini", cache=cache, dtype="fp32", deterministic=False, slots=16) as stage:

        async def answer(golden: dict[str, object]) -> Reply:
            ids = stages_pb2.TokenIds(ids=golden["prompt"])  # type: ignore[arg-type]
            greedy = {"temperature": 0.0}
            if golden["want"] in ("text", "speech"):
                greedy["max_tokens"] = MOST
            name = str(golden["want"])
            segment = stages_pb2.PromptSegment(tokens=ids)
            return await ask(stage, request(prompt=[segment], want=[name], sampling={name: greedy}))

        replies = await asyncio.gather(*map(answer, GOLDENS["answers"]))
    assert [reply.ids for reply in replies] == [one["ids"] for one in GOLDENS["answers"]]


@pytest.mark.slow
def test_transformers_still_gives_the_goldens() -> None:
    assert made() == GOLDENS
