"""The broker as compose configures it, run for real, with the folders that `anygpt secrets` writes."""

from __future__ import annotations

import asyncio
import gc
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from anygpt import topology
from anygpt.bus_sealed import SealedBus
from anygpt.connections import create_infrastructure, open_bus
from anygpt.errors import Conflict, Denied
from anygpt.keys import KeyVerifier
from anygpt.secrets_folder import write_secrets
from anygpt.settings import ServiceSettings
from anygpt.v1 import bus_pb2
from tests.contract.surface import ROOT
from tests.servers.kafka import Kafka
from tests.servers.process import free_port

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(300),
    # kafka-python leaves sockets that did not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
REQUEST = "0" * 32


def property_of(variable: str) -> str:
    """The broker's property behind a variable, as its image translates it."""
    name = variable.removeprefix("KAFKA_").lower()
    return re.sub("_{1,3}", lambda found: {1: ".", 2: "_", 3: "-"}[len(found[0])], name)


class ComposeKafka(Kafka):
    """The broker of docker-compose.yml, on the loopback."""

    def __init__(self, secrets: Path) -> None:
        super().__init__()
        self.secrets = secrets
        self.places = {
            "SASL_PLAINTEXT://:9092": f"SASL_PLAINTEXT://127.0.0.1:{self.port}",
            "SASL_PLAINTEXT://kafka:9092": f"SASL_PLAINTEXT://127.0.0.1:{self.port}",
            "localhost:9093": f"127.0.0.1:{self.controller_port}",
            "localhost:9094": f"127.0.0.1:{free_port()}",
            "/var/lib/kafka/data": str(self.data / "logs"),
            "/run/secrets/kafka": str(secrets / "kafka"),
            "$$": "$",
        }

    def prepare(self) -> None:
        """Writes what compose's variables say, for this machine."""
        lines = []
        for variable, value in COMPOSE["kafka"]["environment"].items():
            text = str(value)
            for there, here in self.places.items():
                text = text.replace(there, here)
            lines.append(f"{property_of(variable)}={text}")
        self.properties.write_text("\n".join(lines))
        self._format()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test leaves to the garbage collector is collected under the test's own filter of warnings."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("compose") / "secrets"
    write_secrets(made)
    return made


@pytest.fixture(scope="module")
def broker(folder: Path) -> Iterator[ComposeKafka]:
    with ComposeKafka(folder) as server:
        yield server


def settings(service: str, broker: ComposeKafka, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """What a container of compose reads: its variables, and its own folder of secrets."""
    for name, value in COMPOSE["gateway"]["environment"].items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("ANYGPT_SECRETS", str(broker.secrets / service))
    return ServiceSettings(bus=broker.url, store="file:///nowhere")


async def test_init_makes_the_accounts_and_each_service_comes_in_with_its_own(
    broker: ComposeKafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create_infrastructure(settings("init", broker, monkeypatch))
    assert {f"account {name}" for name in topology.SERVICES} < set(made)
    for service in ("gateway", "image_encoder", "batch"):
        bus = await open_bus(settings(service, broker, monkeypatch))
        await bus.close()
    encoder = await open_bus(settings("image_encoder", broker, monkeypatch))
    assert isinstance(encoder, SealedBus)
    reply = bus_pb2.Reply(stage="image_encoder", request_id=REQUEST, encoded=bus_pb2.Encoded(sha256="00"))
    await encoder.publish(topology.REPLIES, REQUEST, reply.SerializeToString(), {})
    with pytest.raises(Denied):
        await encoder.publish(topology.CONTROL, REQUEST, b"", {})
    await encoder.close()
    gateway = await open_bus(settings("gateway", broker, monkeypatch))
    follower = gateway.follow(topology.REPLIES, key=REQUEST, since_ms=0)
    async with asyncio.timeout(60):
        assert (await anext(follower)).value == reply.SerializeToString()
    await follower.aclose()
    await gateway.close()


async def test_the_first_keys_are_known_to_every_service(folder: Path) -> None:
    client = await asyncio.to_thread((folder / "client" / "token").read_text)
    worker = await asyncio.to_thread((folder / "batch" / "ANYGPT_CLIENT__TOKEN").read_text)
    for service in topology.SERVICES:
        verifier = KeyVerifier(folder / service / "keys.json")
        assert [(await verifier.verify(token)).tenant for token in (client, worker)] == ["default", "*"]  # type: ignore[union-attr]


def test_no_two_services_share_a_password_or_a_seal(folder: Path) -> None:
    for name in ("ANYGPT_KAFKA__PASSWORD", "ANYGPT_SEAL_KEY"):
        files = [path for path in folder.glob(f"*/{name}") if path.parent.name != "init"]
        assert len({path.read_text() for path in files}) == len(files) > 9


def test_secrets_are_drawn_once(folder: Path) -> None:
    with pytest.raises(Conflict):
        write_secrets(folder)
    assert folder.stat().st_mode & 0o077 == 0
