"""The gateway's commands of the CLI."""

from __future__ import annotations

from typing import Annotated

import typer

from anygpt.cli_media import GATEWAY, Address, credentials
from anygpt.cli_serve import chosen


def sweep(
    store: Annotated[str | None, typer.Option(help="file:///folder or s3://host:port/bucket")] = None,
    memory: Annotated[str | None, typer.Option(help="sqlite:///file or redis://host:port/0")] = None,
) -> None:
    """Remove from the store what nobody holds and what has outlived its time; the gateway does it hourly."""
    import asyncio
    from contextlib import AsyncExitStack

    from anygpt.connections import open_memory, open_store
    from services.gateway.settings import Settings
    from services.gateway.sweeper import Sweeper

    settings = Settings(**chosen({"store": store, "memory": memory}))

    async def run() -> int:
        async with AsyncExitStack() as stack:
            objects = await open_store(settings)
            stack.push_async_callback(objects.close)
            remembered = await open_memory(settings)
            stack.push_async_callback(remembered.close)
            return await Sweeper(objects, remembered, settings).sweep()

    print(f"removed {asyncio.run(run())} objects")


def erase(
    tenant: Annotated[str, typer.Argument(help="The tenant whose traces are to be removed.")],
    address: Address = GATEWAY,
) -> None:
    """Cancel a tenant's work and erase all that is kept of it; take its credentials away first."""
    import asyncio

    from anygpt.client import AsyncClient

    async def run() -> str:
        async with AsyncClient(address, tenant, credentials()) as client:
            erased = await client.delete_tenant()
        by = erased.gone_by.ToDatetime().isoformat(timespec="minutes")
        return (
            f"erased {erased.objects} objects and {erased.dead_letters} dead letters, cancelled "
            f"{erased.cancelled_requests} requests; the topics forget by {by} UTC"
        )

    print(asyncio.run(run()))
