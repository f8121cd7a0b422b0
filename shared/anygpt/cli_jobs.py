"""Commands for batch jobs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from anygpt.cli_media import GATEWAY, Address, Tenant, credentials

jobs = typer.Typer(name="job", help="Batch jobs: a JSONL file of requests in, a JSONL file of results out.")


@jobs.command()
def submit(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="One GenerateRequest in JSON a line."
        ),
    ],
    key: Annotated[str, typer.Option(help="Idempotency key: the same call again gives the same job.")] = "",
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Queue a job; prints its id."""
    print(asyncio.run(_submit(file, key, address, tenant)))


@jobs.command()
def watch(
    job_id: str,
    out: Annotated[Path | None, typer.Option(help="File for the results.")] = None,
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Follow a job to its end, and fetch its results."""
    sys.exit(asyncio.run(_watch(job_id, out, address, tenant)))


@jobs.command()
def cancel(job_id: str, address: Address = GATEWAY, tenant: Tenant = "default") -> None:
    """Stop a job: lines that have not begun do not begin."""
    asyncio.run(_cancel(job_id, address, tenant))


async def _submit(file: Path, key: str, address: str, tenant: str) -> str:
    from anygpt.client import AsyncClient

    async with AsyncClient(address, tenant, credentials()) as client:
        return (await client.submit_job(file, key)).job_id


async def _watch(job_id: str, out: Path | None, address: str, tenant: str) -> int:
    from rich.console import Console
    from rich.progress import Progress

    from anygpt.client import AsyncClient
    from anygpt.v1 import job_service_pb2

    async with AsyncClient(address, tenant, credentials()) as client:
        console = Console()
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("lines", total=None)
            async for job in client.watch_job(job_id):
                done = job.finished_lines + job.failed_lines
                progress.update(task, total=job.lines or None, completed=done)
        print(
            f"{job_service_pb2.JobState.Name(job.state)}: {job.finished_lines} finished, {job.failed_lines} failed"
        )
        if out and job.results.object:
            await asyncio.to_thread(out.write_bytes, await client.download(job.results.object))
    return 0 if job.state == job_service_pb2.JOB_STATE_SUCCEEDED else 1


async def _cancel(job_id: str, address: str, tenant: str) -> None:
    from anygpt.client import AsyncClient

    async with AsyncClient(address, tenant, credentials()) as client:
        await client.cancel_job(job_id)
