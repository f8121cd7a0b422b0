"""Dead letters through the whole system, by the commands that an operator has."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from anygpt.cli import app
from anygpt.client import AsyncClient, Options
from anygpt.errors import AnyGPTError, Conflict


def run(address: str, *words: str, tenant: str = "default") -> str:
    """What `anygpt dead ...` prints."""
    result = CliRunner().invoke(app, ["dead", *words, "--address", address, "--tenant", tenant])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output.strip()


async def crash(address: str) -> str:
    """Have a request crash its stage twice; returns its id."""
    async with AsyncClient(address) as client:
        events = [event async for event in client.events("crash")]
    assert events[-1].failed.failure.reason == "INTERNAL"
    return events[-1].request_id


async def outcome(address: str, request_id: str) -> str | None:
    """How a request ended."""
    async with AsyncClient(address) as client:
        events = [event async for event in client.resume(request_id, 0)]
    return events[-1].WhichOneof("kind")


def letter_of(address: str, request_id: str) -> str:
    """The id of a request's letter."""
    return next(line.split()[0] for line in run(address, "list").splitlines() if request_id in line)


def test_what_crashed_a_stage_is_listed_shown_replayed_and_purged(embedded_address: str) -> None:
    address = embedded_address
    request_id = asyncio.run(crash(address))
    letter_id = letter_of(address, request_id)
    shown = json.loads(run(address, "show", letter_id))
    assert shown["headers"]["request"] == request_id
    assert shown["failure"]["stage"] == "llm"
    again = run(address, "replay", letter_id)
    assert again != request_id
    assert asyncio.run(outcome(address, again)) == "failed"
    assert letter_id not in run(address, "list")
    assert again in run(address, "list", "--stage", "llm")
    assert run(address, "purge", "--stage", "llm") == "purged 1"
    assert run(address, "list") == ""


async def test_a_letter_of_a_conversation_is_replayed_as_its_next_turn_and_not_beside_another(
    embedded_address: str,
) -> None:
    async with AsyncClient(embedded_address) as client:
        options = Options(conversation_id=await client.new_conversation())
        with pytest.raises(AnyGPTError):
            await client.answer("crash", options=options)
        letter_id = (await asyncio.to_thread(run, embedded_address, "list")).splitlines()[-1].split()[0]
        under_way = client.events("hang", options=options)
        hanging = await anext(under_way)
        with pytest.raises(Conflict):
            await asyncio.to_thread(run, embedded_address, "replay", letter_id)
        await client.cancel(hanging.request_id)
        assert [event async for event in under_way][-1].HasField("cancelled")
        again = await asyncio.to_thread(run, embedded_address, "replay", letter_id)
        assert again == [event async for event in client.resume(again, 0)][-1].request_id
        assert await asyncio.to_thread(run, embedded_address, "purge", "--stage", "llm") == "purged 1"


def test_another_tenant_s_letters_are_not_to_be_found(embedded_address: str) -> None:
    address = embedded_address
    letter_id = letter_of(address, asyncio.run(crash(address)))
    assert run(address, "list", tenant="stranger") == ""
    for command in ("show", "replay", "purge"):
        with pytest.raises(AnyGPTError) as caught:
            run(address, command, letter_id, tenant="stranger")
        assert caught.value.reason == "NOT_FOUND"
    assert run(address, "purge", letter_id) == "purged 1"
