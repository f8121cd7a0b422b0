"""Commands that run and check services."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from anygpt.cli_media import credentials

Names = Annotated[
    list[str] | None, typer.Argument(help="Services to run; none: all of them, in this process.")
]
Bus = Annotated[str | None, typer.Option(help="memory:// or kafka://host:port[,host:port]")]
Store = Annotated[str | None, typer.Option(help="file:///folder or s3://host:port/bucket")]
MemoryUrl = Annotated[str | None, typer.Option("--memory", help="sqlite:///file or redis://host:port/0")]


def chosen(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; of the others the environment decides."""
    return {name: value for name, value in options.items() if value is not None}


def serve(
    services: Names = None,
    bus: Bus = None,
    store: Store = None,
    memory: MemoryUrl = None,
    data: Annotated[str | None, typer.Option(help="Folder of the embedded form.")] = None,
    pack: Annotated[str | None, typer.Option(help="Name of a pack, or a path with a slash.")] = None,
    device: Annotated[str | None, typer.Option(help="Torch device of the models.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="gRPC port, 50051 if unset; 0: any free one.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Prometheus port; -1: none.")] = None,
    deterministic: Annotated[
        bool | None, typer.Option(help="Equal to the bit, alone and in a batch.")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Beyond loopback without TLS, or without credentials.")
    ] = None,
) -> None:
    """Run services until SIGTERM or Ctrl-C; all of them in one process when none is named.

    Every option can also be set in the environment: ANYGPT_BUS, ANYGPT_STORE, ANYGPT_KAFKA__SASL_MECHANISM, ...
    """
    import asyncio

    from anygpt import main
    from anygpt.logs import start_logging
    from anygpt.pack import open_pack
    from anygpt.settings import ServiceSettings, let_idle_threads_sleep

    let_idle_threads_sleep()
    given: dict[str, Any] = {
        "bus": bus, "store": store, "memory": memory, "data": data, "pack": pack, "device": device,
        "host": host, "port": port, "metrics_port": metrics_port, "deterministic": deterministic,
        "insecure": insecure,
    }  # fmt: skip
    start_logging()
    settings = ServiceSettings(**chosen(given))
    if not services:
        # What is wrong with the pack is told before seconds go into loading what would use it.
        open_pack(settings.pack)
    found = main.find_services(services or [])
    # In one write: what another thread flushes between a line and its end would stand in the same line.
    asyncio.run(main.serve(found, settings, lambda at: typer.echo(f"ready on {settings.host}:{at}")))


def init(bus: Bus = None, store: Store = None) -> None:
    """Make the topics and the bucket that are missing."""
    import asyncio

    from anygpt.connections import create_infrastructure
    from anygpt.settings import ServiceSettings

    settings = ServiceSettings(**chosen({"bus": bus, "store": store}))
    made = asyncio.run(create_infrastructure(settings))
    for name in made:
        print(f"made {name}")
    if not made:
        print("nothing is missing")


def health(
    service: Annotated[
        str, typer.Argument(help="Service; empty string: only whether the process is alive.")
    ] = "",
    address: Annotated[
        str, typer.Option(help="host:port of the server; empty: the one on this machine.")
    ] = "",
) -> None:
    """Ask a service whether it is ready; the exit status tells."""
    import asyncio

    sys.exit(asyncio.run(_health(service, address)))


async def _health(service: str, address: str) -> int:
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from anygpt.credentials import open_channel
    from anygpt.settings import ServiceSettings

    settings = ServiceSettings()
    port = settings.health_port if settings.health_port >= 0 else settings.port
    address = address or f"127.0.0.1:{port}"
    async with open_channel(address, credentials()) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            stub: Any = health_pb2_grpc.HealthStub(channel)
            status = (await stub.Check(request, timeout=3)).status
        except grpc.RpcError as error:
            print(f"{service or address}: {error.code().name}")
            return 1
    print(f"{service or address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(status)}")
    return 0 if status == health_pb2.HealthCheckResponse.SERVING else 1
