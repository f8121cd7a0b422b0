"""The plain system inside the test's own process, for what a test must reach into."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from anygpt.main import Process, Runtime, opened_runtime
from anygpt.settings import ServiceSettings
from services.gateway.__main__ import SERVICE as GATEWAY
from tests.flow.stages import plain_services


@asynccontextmanager
async def inside(
    pack: Path, data: Path, change: Callable[[Runtime], None] = lambda runtime: None
) -> AsyncIterator[tuple[str, Runtime]]:
    """Gateway and stages on the in-process bus; gives their address, and what they share."""
    async with opened_runtime(ServiceSettings(pack=str(pack), data=data, port=0)) as runtime:
        change(runtime)
        process = Process([GATEWAY, *plain_services()], runtime)
        await process.start()
        try:
            yield f"127.0.0.1:{process.port}", runtime
        finally:
            await process.stop()
