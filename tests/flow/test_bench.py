"""`anygpt bench` on the whole system."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from anygpt import topology
from anygpt.bench import Bench, Patience
from anygpt.cli import app
from anygpt.client import AsyncClient
from anygpt.errors import InvalidInput
from anygpt.v1 import anygpt_service_pb2, types_pb2

LOADS = {"open": ["--rate", "40", "--burstiness", "0.3"], "closed": ["--at-once", "4"]}


@pytest.mark.parametrize("loop", LOADS)
def test_a_load_ends_with_every_answer_whole_and_the_same_when_replayed(
    embedded_address: str, tmp_path: Path, loop: str
) -> None:
    out, picture = tmp_path / "figures.json", tmp_path / "run.png"
    options = ["--address", embedded_address, "--mix", "text=2,image=1,speech=1", "--requests", "24"]
    files = ["--json", str(out), "--plot", str(picture)]
    ran = CliRunner().invoke(app, ["bench", *options, *LOADS[loop], "--verify", *files])
    assert ran.exit_code == 0, ran.output
    told = json.loads(out.read_text())
    assert told["outcomes"] == {"finished": 24}, told["reasons"]
    assert told["breaches"] == {}
    assert told["good"] == 24
    assert told["first_text_ms"]["p50"] <= told["total_ms"]["max"]
    assert picture.exists()


@pytest.mark.parametrize(
    "files", [["--json", "nowhere/figures.json"], ["--plot", "nowhere/run.png"], ["--plot", "run.nope"]]
)
def test_a_file_that_cannot_be_written_is_told_before_the_load(tmp_path: Path, files: list[str]) -> None:
    option, name = files
    ran = CliRunner().invoke(app, ["bench", "--address", "127.0.0.1:1", option, str(tmp_path / name)])
    assert isinstance(ran.exception, InvalidInput)
    assert ran.exception.field == option


async def test_a_deadline_of_the_load_itself_is_no_broken_promise(client: AsyncClient) -> None:
    request = anygpt_service_pb2.GenerateRequest(parts=[types_pb2.Part(text="hang")], want=[topology.TEXT])
    bench = Bench([client], Patience(deadline_s=0.5, give_up_s=30.0))
    (trace,) = await bench.closed_loop([request], 1)
    assert (trace.outcome, trace.breaches) == ("expired", [])
