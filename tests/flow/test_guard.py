"""The guard sees all content on its way in and out, and what it refuses goes no further."""

from __future__ import annotations

from pathlib import Path

import pytest

from anygpt.answer import Event
from anygpt.client import AsyncClient, Media, Options, image
from anygpt.errors import ContentRefused, InvalidInput
from anygpt.guard import Content, open_guard
from anygpt.guard_words import WordGuard
from anygpt.main import Runtime
from anygpt.settings import GuardSettings
from anygpt.topology import IMAGE, TEXT
from tests.flow.inside import inside
from tests.flow.media import picture


class Watchman:
    """Notes what it sees, and lets no answer of `blocked` pass."""

    def __init__(self, blocked: str = "") -> None:
        self.seen: list[tuple[str, int, str, str]] = []
        self._blocked = blocked

    async def incoming(self, content: Content, tenant: str) -> None:
        """See Guard."""
        self._note("in", content, tenant)

    async def outgoing(self, content: Content, tenant: str) -> None:
        """See Guard."""
        self._note("out", content, tenant)
        if self._blocked and self._blocked in (content.text or content.media_type):
            raise ContentRefused("not here")

    def _note(self, direction: str, content: Content, tenant: str) -> None:
        self.seen.append((direction, content.modality, content.text or content.media_type, tenant))

    def stand(self, runtime: Runtime) -> None:
        """Guard this system."""
        runtime.guard = self


async def events_of(client: AsyncClient, text: str, *want: str) -> list[Event]:
    """All events of a request."""
    return [event async for event in client.events(text, options=Options(want=want))]


async def test_a_guard_sees_texts_files_and_uploads_in_and_out(plain_pack: Path, tmp_path: Path) -> None:
    guard = Watchman()
    async with (
        inside(plain_pack, tmp_path, guard.stand) as (address, _),
        AsyncClient(address, "acme") as client,
    ):
        options = Options(want=["text", "image"], system="be kind")
        await client.answer(image(picture()), "two words", options=options)
        await client.upload(Media(picture(80)))
    assert guard.seen[:3] == [
        ("in", TEXT, "be kind", "acme"), ("in", IMAGE, "image/png", "acme"), ("in", TEXT, "two words", "acme"),
    ]  # fmt: skip
    assert {("out", TEXT, "two ", "acme"), ("out", TEXT, "two words ", "acme")} <= set(guard.seen)
    assert any(direction == "out" and kind == "image/plain" for direction, _, kind, _ in guard.seen)
    assert guard.seen[-1] == ("in", IMAGE, "image/png", "acme")


async def test_a_refused_message_is_refused_before_it_starts(plain_pack: Path, tmp_path: Path) -> None:
    def stand(runtime: Runtime) -> None:
        runtime.guard = WordGuard(["tomato"])

    async with inside(plain_pack, tmp_path, stand) as (address, _), AsyncClient(address) as client:
        with pytest.raises(InvalidInput) as raised:
            await client.answer("one", "a Tomato, please")
        assert (raised.value.reason, raised.value.field) == ("CONTENT_REFUSED", "parts[1].text")
        assert (await client.answer("tomatoes", options=Options(want=["text"]))).text.strip() == "tomatoes"


async def test_a_refused_answer_reaches_nobody(plain_pack: Path, tmp_path: Path) -> None:
    guard = Watchman(blocked="second third")
    async with inside(plain_pack, tmp_path, guard.stand) as (address, _), AsyncClient(address) as client:
        events = await events_of(client, "first second third", "text")
    said = "".join(event.text_delta.text for event in events)
    assert "third" not in said
    assert events[-1].failed.failure.reason == "CONTENT_REFUSED"


async def test_a_refused_file_fails_its_span_alone(plain_pack: Path, tmp_path: Path) -> None:
    guard = Watchman(blocked="image/plain")
    async with (
        inside(plain_pack, tmp_path, guard.stand) as (address, runtime),
        AsyncClient(address) as client,
    ):
        events = await events_of(client, "hello", "text", "image")
        assert not list(await runtime.store.list("default/media/"))
    assert [event.span_failed.failure.reason for event in events if event.HasField("span_failed")] == [
        "CONTENT_REFUSED"
    ]
    assert events[-1].HasField("finished")


def test_a_guard_is_chosen_by_its_entry_point(tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("tomato\n")
    assert isinstance(open_guard(GuardSettings(name="words", words=words)), WordGuard)
    for wrong in (GuardSettings(name="words"), GuardSettings(name="unheard-of")):
        with pytest.raises(InvalidInput):
            open_guard(wrong)
