"""The command that puts a load on an installation and tells how it bears it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anygpt.cli_media import GATEWAY, Address, Tenant, credentials

if TYPE_CHECKING:
    from anygpt.bench_trace import Trace
    from anygpt.v1 import anygpt_service_pb2

PROMPTS = {
    "text": "Tell me about the number {}.",
    "image": "Draw a picture of the number {}.",
    "video": "Make a video of the number {}.",
    "speech": "Say the number {} aloud.",
    "audio": "Play music for the number {}.",
}


def bench(
    mix: Annotated[
        str, typer.Option(help="Answers by weight, e.g. text=6,image=2; or a JSONL file of requests.")
    ] = "text=1",
    requests: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    rate: Annotated[float, typer.Option(min=0, help="Requests a second; 0: a closed loop.")] = 0.0,
    burstiness: Annotated[
        float, typer.Option(min=0.01, help="1: Poisson arrivals, below: bursts, inf: a steady beat.")
    ] = 1.0,
    at_once: Annotated[int, typer.Option(min=1, help="Requests under way in a closed loop.")] = 8,
    slo: Annotated[
        str, typer.Option(help="Seconds of a good answer: text=1,playable=2,gap=0.5,total=20.")
    ] = "",
    timeout: Annotated[float | None, typer.Option(help="Seconds; each request's deadline.")] = None,
    seed: Annotated[int, typer.Option(help="Of the mix, the arrivals and the answers.")] = 0,
    verify: Annotated[bool, typer.Option(help="Replay every answer and fetch its media afterwards.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures.")] = None,
    plot_file: Annotated[
        Path | None, typer.Option("--plot", help="File for a picture (needs matplotlib).")
    ] = None,
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Put a load on a gateway; latency counts from the intended send time, goodput counts what meets the SLO.

    Example: anygpt bench --rate 2 --mix text=6,image=2,speech=1 --slo text=1,total=10 --json bench.json
    """
    import asyncio

    from anygpt.bench import Bench, Patience, arrivals
    from anygpt.bench_report import Slo, report
    from anygpt.client import AsyncClient

    limits = Slo.parse(slo)
    _check_files(json_file, plot_file)
    drawn = draw(mix, requests, seed)

    async def run() -> list[Trace]:
        async with AsyncClient(address, tenant, credentials()) as client:
            load = Bench([client], Patience(timeout, (timeout or 630.0) + 30.0))
            if rate:
                traces = await load.open_loop(drawn, arrivals(rate, burstiness, seed))
            else:
                traces = await load.closed_loop(drawn, at_once)
            if verify:
                await load.verify(traces)
            return traces

    traces = asyncio.run(run())
    _tell(report(traces, limits), json_file)
    if plot_file:
        from anygpt.bench_plot import plot

        plot(traces, limits, plot_file)


def _tell(figures: dict[str, Any], json_file: Path | None) -> None:
    import json

    from rich.console import Console

    Console().print_json(json.dumps(figures))
    if json_file:
        json_file.write_text(json.dumps(figures, indent=1), encoding="utf-8")


def _check_files(json_file: Path | None, plot_file: Path | None) -> None:
    """Raise InvalidInput for files that cannot be written, before a load is spent on them."""
    from anygpt.errors import InvalidInput

    for file, field in ((json_file, "--json"), (plot_file, "--plot")):
        if file and not file.absolute().parent.is_dir():
            raise InvalidInput(f"there is no folder {file.parent}", field=field)
    if plot_file:
        from anygpt.bench_plot import check_picture

        check_picture(plot_file)


def draw(mix: str, count: int, seed: int) -> list[anygpt_service_pb2.GenerateRequest]:
    """Requests in the shares of the mix, each with a seed and an idempotency key of its own. Raises InvalidInput."""
    import random
    import secrets

    from anygpt.errors import InvalidInput

    choices, weights = _jsonl(Path(mix)) if Path(mix).is_file() else _weighted(mix)
    if not sum(weights) > 0:
        raise InvalidInput("a mix has weights above 0", field="--mix")
    run, chance = secrets.token_hex(8), random.Random(seed)
    drawn = []
    for number, choice in enumerate(chance.choices(choices, weights, k=count)):
        request = type(choice)()
        request.CopyFrom(choice)
        for part in request.parts:
            part.text = part.text.format(number) if part.text in PROMPTS.values() else part.text
        request.seed = request.seed or seed + number
        request.idempotency_key = f"bench-{run}-{number}"
        drawn.append(request)
    return drawn


def _weighted(mix: str) -> tuple[list[Any], list[float]]:
    from anygpt.errors import InvalidInput
    from anygpt.topology import MODALITIES
    from anygpt.v1 import anygpt_service_pb2, types_pb2

    requests, weights = [], []
    for entry in mix.split(","):
        name, _, weight = entry.partition("=")
        try:
            weights.append(float(weight))
            part = types_pb2.Part(text=PROMPTS[name])
        except (KeyError, ValueError):
            raise InvalidInput("a mix is MODALITY=WEIGHT,... or a file", field="--mix") from None
        requests.append(anygpt_service_pb2.GenerateRequest(parts=[part], want=[MODALITIES[name]]))
    return requests, weights


def _jsonl(path: Path) -> tuple[list[Any], list[float]]:
    import json

    from google.protobuf import json_format

    from anygpt.errors import InvalidInput
    from anygpt.v1 import anygpt_service_pb2

    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        weights = [float(line.pop("weight", 1)) for line in lines]
        requests = [json_format.ParseDict(line, anygpt_service_pb2.GenerateRequest()) for line in lines]
    except (ValueError, TypeError, OverflowError, AttributeError, json_format.ParseError) as error:
        raise InvalidInput(f"{path} is no JSONL file of requests", field="--mix") from error
    return requests, weights
