"""The gateway's commands of the CLI."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from anygpt.cli_media import GATEWAY, Address, credentials


def sweep(
    store: Annotated[str | None, typer.Option(help="file:///folder or s3://host:port/bucket")] = None,
) -> None:
    """Remove from the store what nobody holds and what has outlived its time; the gateway does it hourly."""
    import asyncio

    from anygpt.connections import open_store
    from services.gateway.settings import Settings
    from services.gateway.sweeper import Sweeper

    given: dict[str, Any] = {} if store is None else {"store": store}
    settings = Settings(**given)

    async def run() -> int:
        opened = await open_store(settings)
        try:
            return await Sweeper(opened, settings).sweep()
        finally:
            await opened.close()

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
