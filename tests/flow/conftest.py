"""The plain system in both forms: everything in one process, and every service in its own on real servers."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from anygpt import topology
from anygpt.client import AsyncClient
from tests.flow.pack import build_pack
from tests.servers import Backends, Kafka, Minio, Redis
from tests.servers.service import Service

EMBEDDED = Backends({})


class PlainService(Service):
    """A service of the plain system."""

    def command(self) -> list[str]:
        """As `anygpt serve`, with stages that do no work."""
        return [sys.executable, "-m", "tests.flow.serve", self.name]

    def environment(self) -> dict[str, str]:
        """The port comes by the environment here."""
        return {**super().environment(), "ANYGPT_PORT": str(self.port)}


class EmbeddedService(PlainService):
    """All of the plain system in one process, or the services that are named."""

    def __init__(self, backends: Backends, *names: str, **environment: str) -> None:
        super().__init__(names[-1] if names else topology.BATCH, backends, **environment)
        self._names = ",".join(names) or "all"

    def command(self) -> list[str]:
        """Ready when the last service is, whose name this one bears."""
        return [*super().command()[:-1], self._names]


@pytest.fixture(scope="session")
def plain_pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack without weights."""
    return build_pack(tmp_path_factory.mktemp("packs") / "plain")


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[Kafka]:
    """A broker of the module's own."""
    with Kafka() as server:
        yield server


@pytest.fixture(scope="module")
def own_backends(own_kafka: Kafka, minio_server: Minio, redis_server: Redis) -> Backends:
    """Backends whose work no replica of another test's system takes."""
    made = Backends.of(own_kafka, minio_server, redis_server)
    made.initialise()
    return made


@pytest.fixture(scope="session")
def embedded_address(plain_pack: Path) -> Iterator[str]:
    """The gateway of the embedded form."""
    with EmbeddedService(EMBEDDED, ANYGPT_PACK=str(plain_pack)) as service:
        yield service.address


@pytest.fixture(scope="session")
def distributed_address(plain_pack: Path, backends: Backends) -> Iterator[str]:
    """The gateway of the distributed form: eleven processes on Kafka, MinIO and Redis."""
    with ExitStack() as stack:
        gateway = stack.enter_context(PlainService("gateway", backends, ANYGPT_PACK=str(plain_pack)))
        for name in (*topology.STAGES, topology.BATCH):
            more = {"ANYGPT_PACK": str(plain_pack), "ANYGPT_GATEWAY": gateway.address}
            stack.enter_context(PlainService(name, backends, **more))
        yield gateway.address


@pytest.fixture(params=["embedded", "distributed"])
def address(request: pytest.FixtureRequest) -> str:
    """Both forms in turn."""
    return cast(str, request.getfixturevalue(f"{request.param}_address"))


@pytest.fixture
async def client(address: str) -> AsyncIterator[AsyncClient]:
    """A client of the default tenant."""
    async with AsyncClient(address) as made:
        yield made
