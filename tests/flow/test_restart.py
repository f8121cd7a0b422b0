"""The embedded form keeps what it acknowledged, also when it is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from anygpt.client import AsyncClient, Media, Options
from anygpt.v1 import job_service_pb2
from tests.flow.conftest import EMBEDDED, EmbeddedService
from tests.flow.media import picture


@pytest.fixture
def system(plain_pack: Path) -> Iterator[EmbeddedService]:
    """A system of its own, to be killed."""
    with EmbeddedService(EMBEDDED, ANYGPT_PACK=str(plain_pack)) as service:
        yield service


async def test_turns_media_and_jobs_outlive_a_kill(system: EmbeddedService) -> None:
    async with AsyncClient(system.address) as client:
        conversation = await client.new_conversation()
        options = Options(conversation_id=conversation)
        made = (await client.answer("recall image", options=options)).media("image")[0]
        uploaded = await client.upload(Media(picture()))
        job = await client.submit_job(b'{"parts": [{"text": "hello"}]}')
    system.kill()
    system.start()
    async with AsyncClient(system.address) as client:
        assert (await client.conversation(conversation)).conversation.turn_count == 1
        assert (await client.download(made.object)).startswith(b"image")
        assert await client.download(uploaded.object) == picture()
        async for state in client.watch_job(job.job_id):
            job = state
        assert job.state == job_service_pb2.JOB_STATE_SUCCEEDED
        answer = await client.answer("recall", options=options)
        assert int(answer.text.split("recall:", 1)[1].split(maxsplit=1)[0]) > 3
