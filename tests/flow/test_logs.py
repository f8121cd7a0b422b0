"""Canaries in everything that a user says or holds; then the log of all services is searched for them."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from anygpt.client import AsyncClient, Media, Options
from anygpt.errors import AnyGPTError
from anygpt.v1 import anygpt_service_pb2, anygpt_service_pb2_grpc, types_pb2
from tests.flow.conftest import EmbeddedService
from tests.flow.media import picture
from tests.servers.service import Backends, Service

CANARY = "quetzalcanary"
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
FIELDS = {"request", "tenant", "stage", "trace"}


def lines(service: Service) -> list[dict[str, Any]]:
    """All lines of the log but the one that says where it listens; every one is JSON."""
    texts = service.log.read_text().splitlines()
    other = [place for place, text in enumerate(texts) if not text.startswith(("{", "ready on "))]
    assert not other, [texts[max(0, place - 1) : place + 3] for place in other]
    return [json.loads(text) for text in texts if not text.startswith("ready on ")]


async def generate(address: str, *parts: types_pb2.Part, key: str = "") -> None:
    """A call with canaries for credentials."""
    credentials = (
        ("authorization", f"Bearer {CANARY}-token"), ("x-api-key", f"{CANARY}-key"), ("traceparent", CALLER),
    )  # fmt: skip
    request = anygpt_service_pb2.GenerateRequest(parts=parts, system=f"{CANARY}-system", idempotency_key=key)
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = anygpt_service_pb2_grpc.AnyGPTServiceStub(channel)
        async for _ in stub.Generate(request, metadata=credentials):
            pass


async def misuse(address: str) -> list[str]:
    """Requests that succeed, fail, crash and are refused, with a canary wherever one fits; returns the secrets."""
    for words in ("hello", "crash", "refuse", "image"):
        await generate(address, types_pb2.Part(text=f"{CANARY} {words}"), key=f"{CANARY}-{words}")
    bad = types_pb2.InlineMedia(data=CANARY.encode(), media_type=f"image/{CANARY}")
    for part in (types_pb2.Part(inline=bad), types_pb2.Part(url=f"https://{CANARY}.example.com/?{CANARY}")):
        with pytest.raises(grpc.aio.AioRpcError):
            await generate(address, part)
    async with AsyncClient(address) as client:
        reference = await client.upload(Media(picture()))
        with suppress(AnyGPTError):
            await client.answer(f"{CANARY} hang", options=Options(timeout_s=0.5))
        url = await client.download_url(reference.object)
    await asyncio.to_thread(lambda: urllib.request.urlopen(url).close())
    return [CANARY, url.partition("?")[2]]


@pytest.mark.timeout(300)
async def test_no_log_of_any_service_holds_a_prompt_a_key_or_a_presigned_url(
    plain_pack: Path, own_backends: Backends
) -> None:
    with EmbeddedService(own_backends, ANYGPT_PACK=str(plain_pack)) as service:
        secrets = await misuse(service.address)
        told, text = lines(service), service.log.read_text()
    assert not [secret for secret in secrets if secret in text]
    crashes = [line for line in told if line.get("errors") and line.get("stage") == "llm"]
    assert crashes, "a crash is told"
    assert all(line.keys() >= FIELDS for line in crashes)
    assert {line["trace"] for line in crashes} == {CALLER.split("-")[1]}
    assert {line["errors"][0]["type"] for line in crashes} == {"RuntimeError"}
