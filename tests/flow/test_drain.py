"""A replica that stops lets a request that begins be answered, and what it has to cut can be taken up elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from anygpt.client import AsyncClient
from anygpt.errors import Unavailable, from_rpc_error
from anygpt.main import Process, opened_runtime
from anygpt.settings import ServiceSettings
from services.gateway.__main__ import SERVICE as GATEWAY
from services.gateway.idempotency import IdempotencyKeys
from tests.flow.stages import plain_services

SLOW_S = 2.0
"""Longer than a server that stops gives the calls that it still has."""


async def test_a_request_whose_key_is_being_claimed_is_answered_before_the_replica_goes(
    plain_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = IdempotencyKeys.claim

    async def slowly(*arguments: Any) -> str:
        await asyncio.sleep(SLOW_S)
        return await claim(*arguments)

    monkeypatch.setattr(IdempotencyKeys, "claim", slowly)
    async with opened_runtime(ServiceSettings(pack=str(plain_pack), data=tmp_path, port=0)) as runtime:
        process = Process([GATEWAY, *plain_services()], runtime)
        await process.start()
        async with AsyncClient(f"127.0.0.1:{process.port}") as client:
            answering = asyncio.create_task(client.answer("hello"))
            await asyncio.sleep(SLOW_S / 4)
            await process.stop()
            assert (await answering).text


def test_a_call_that_a_stopping_server_ends_may_be_made_again() -> None:
    ended = grpc.aio.AioRpcError(grpc.StatusCode.CANCELLED, grpc.aio.Metadata(), grpc.aio.Metadata())
    assert isinstance(from_rpc_error(ended), Unavailable)
