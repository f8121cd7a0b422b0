"""The private system that commands start for themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from anygpt.client import Client, Options
from anygpt.embedded import embedded
from anygpt.errors import Unavailable
from services.trainer.order import Order, told_in
from tests.tiny_pack import TinyPack, build_tiny_pack

WAITING = """
import sys, time
from pathlib import Path
from anygpt.embedded import embedded
with embedded(Path(sys.argv[1]), sys.argv[2]) as address:
    print(address, flush=True)
    time.sleep(60)
"""
ELSEWHERE = {
    "ANYGPT_ACCESS__KEYS_FILE": "/nowhere/keys.json",
    "ANYGPT_BROKER": "redis://127.0.0.1:1/0",
    "ANYGPT_BUS": "kafka://127.0.0.1:1",
    "ANYGPT_HOST": "0.0.0.0",
    "ANYGPT_METRICS_PORT": "1",
    "ANYGPT_MEMORY": "redis://127.0.0.1:1/0",
    "ANYGPT_SECRETS": "/nowhere",
    "ANYGPT_STORE": "s3://127.0.0.1:1/anygpt",
    "anygpt_tls__cert_file": "/nowhere/cert.pem",
}
"""Settings of a system that is in use."""


@pytest.fixture
def text_pack(tmp_path: Path) -> Path:
    """A pack that serves text alone."""
    folder = build_tiny_pack(tmp_path / "pack", TinyPack(adapter=False))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["modalities"] = {"text": manifest["modalities"]["text"]}
    manifest["vocabulary"]["blocks"] = []
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.timeout(300)
def test_a_private_system_stays_away_from_the_one_in_use_and_from_its_orders(
    text_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for name, value in {**ELSEWHERE, "ANYGPT_CACHE": str(cache), "ANYGPT_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    order = Order(stage="no.stage").now("running", cache / "orders" / "one")
    with embedded(tmp_path / "data", str(text_pack)) as address, Client(address) as client:
        answer = client.answer("hello", options=Options(want=["text"], seed=1))
    assert set(answer.spans) == {0}
    opened = (tmp_path / "data" / "serve.log").read_text()
    assert "opening llm" in opened
    assert "opening trainer" not in opened
    assert told_in(cache / "orders" / "one") == order


@pytest.mark.timeout(300)
def test_a_command_that_is_stopped_leaves_no_private_system_behind(text_pack: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WAITING, str(tmp_path / "data"), str(text_pack)]
    environment = {**os.environ, "ANYGPT_CACHE": str(tmp_path / "cache"), "ANYGPT_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as waiting:
        assert waiting.stdout is not None
        address = waiting.stdout.readline().strip()
        with Client(address) as client:
            assert client.answer("hello", options=Options(want=["text"])).spans
        waiting.send_signal(signal.SIGTERM)
        assert waiting.wait(60) == 128 + signal.SIGTERM
    with Client(address) as client, pytest.raises(Unavailable):
        client.answer("hello", options=Options(timeout_s=5))
