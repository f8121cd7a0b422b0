"""The plain system as processes: `python -m tests.flow.serve all`, or services by name with commas between them."""

from __future__ import annotations

import asyncio
import sys

import typer

from anygpt.logs import start_logging
from anygpt.main import Service, serve
from anygpt.settings import ServiceSettings
from services.batch.__main__ import SERVICE as BATCH
from services.gateway.__main__ import SERVICE as GATEWAY
from tests.flow.stages import plain_services


def find(names: str) -> list[Service]:
    """The services of these names, or all."""
    known = [GATEWAY, *plain_services(), BATCH]
    return known if names == "all" else [service for service in known if service.name in names.split(",")]


if __name__ == "__main__":
    start_logging()
    asyncio.run(serve(find(sys.argv[1]), ServiceSettings(), lambda port: typer.echo(f"ready on {port}")))
