"""Anyone can see what happened to their request, and nobody what happened to another's."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from anygpt.client import AsyncClient, Options, image
from anygpt.errors import NotFound
from anygpt.identity import new_request_id
from tests.flow.inside import inside
from tests.flow.media import picture

STORY = ["gateway accepted", "image_encoder encoded", "gateway composed", "llm span_opened", "llm text", "llm finished",
         "image_decoder media", "image_decoder span_finished", "gateway finished"]  # fmt: skip


async def test_a_story_tells_every_stage_with_times_and_nothing_of_the_content(
    plain_pack: Path, tmp_path: Path
) -> None:
    async with inside(plain_pack, tmp_path) as (address, _), AsyncClient(address) as client:
        options = Options(want=["text", "image"])
        answer = await client.answer(image(picture()), "tomatoes and potatoes", options=options)
        story = await client.inspect(answer.request_id)
        told = [f"{entry.stage} {entry.what}" for entry in story.entries]
        assert story.ended
        assert set(STORY) <= set(told)
        assert [told.index(step) for step in STORY[:4]] == sorted(told.index(step) for step in STORY[:4])
        times = [entry.first_at.ToMilliseconds() for entry in story.entries]
        assert times == sorted(times)
        assert next(entry.records for entry in story.entries if entry.what == "text") == 3
        assert "tomatoes" not in str(story)
        page = await told_by_the_command_line(answer.request_id, address)
    assert all(step.split()[0] in page for step in STORY)
    assert "image/plain" in page


async def test_a_request_that_fails_says_why(plain_pack: Path, tmp_path: Path) -> None:
    async with inside(plain_pack, tmp_path) as (address, _), AsyncClient(address) as client:
        events = [event async for event in client.events("refuse", options=Options(want=["text"]))]
        story = await client.inspect(events[0].request_id)
    assert (story.entries[-1].what, story.entries[-1].detail) == ("failed", "REFUSED")


async def test_the_story_of_another_tenant_or_of_nobody_is_not_found(
    plain_pack: Path, tmp_path: Path
) -> None:
    async with inside(plain_pack, tmp_path) as (address, _):
        async with AsyncClient(address) as client:
            answer = await client.answer("hello", options=Options(want=["text"]))
            with pytest.raises(NotFound):
                await client.inspect(new_request_id())
        async with AsyncClient(address, "stranger") as stranger:
            with pytest.raises(NotFound):
                await stranger.inspect(answer.request_id)


async def told_by_the_command_line(request_id: str, address: str) -> str:
    """What `anygpt inspect` prints."""
    command = [sys.executable, "-m", "anygpt", "inspect", request_id, "--address", address]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()
