"""The whole system as it is deployed: replicas of every service in processes of their own, on real servers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from anygpt import topology
from anygpt.client import AsyncClient
from anygpt.settings import ServiceSettings
from tests.chaos.proxy import Proxy
from tests.flow.conftest import PlainService
from tests.servers import Backends, Kafka, Minio, Redis, Server

STARTING_AT_ONCE = 3
EVERYTHING = (topology.GATEWAY, *topology.STAGES)


@dataclass(frozen=True)
class Shape:
    """What a cluster is made of."""

    pack: Path
    services: Sequence[str] = EVERYTHING
    """Those that have replicas; the gateway is always among them."""
    replicas: int = 2
    step_s: float = 0.1
    """How long a stage takes for each response."""


class Replica(PlainService):
    """One process of a service, with a fixed place in its consumer group."""

    def __init__(self, name: str, number: int, step_s: float, backends: Backends, **environment: str) -> None:
        identity = {"ANYGPT_KAFKA__INSTANCE_ID": f"{name}-{number}", "OMP_NUM_THREADS": "1"}
        super().__init__(name, backends, **identity, **environment)
        self._step_s = step_s

    def command(self) -> list[str]:
        """A plain service that takes its time."""
        return [sys.executable, "-m", "tests.chaos.serve", self.name, str(self._step_s)]

    @property
    def resident_mb(self) -> float:
        """Memory that the process holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    @property
    def handles(self) -> int:
        """Files and sockets that the process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))


class Cluster:
    """Servers, replicas and the proxy between them; a context manager."""

    def __init__(self, shape: Shape, **environment: str) -> None:
        self.shape = shape
        self.kafka = Kafka()
        self.minio = Minio()
        self.redis = Redis()
        self.replicas: dict[str, list[Replica]] = {}
        self._environment = {"ANYGPT_PACK": str(shape.pack), "ANYGPT_ENCODE_CACHE_S": "0.001", **environment}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack, (self.kafka, self.minio, self.redis))
            self.store_proxy = stack.enter_context(Proxy(self.minio.port))
            url = f"s3://127.0.0.1:{self.store_proxy.port}/{self.minio.bucket}"
            servers = Backends.of(self.kafka, self.minio, self.redis)
            servers.initialise()
            self.backends = Backends({**servers.environment, "ANYGPT_STORE": url})
            self._start_replicas(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def settings(self) -> ServiceSettings:
        """How to reach the servers from here."""
        return ServiceSettings(
            bus=self.kafka.url, store=self.minio.url, memory=self.redis.url, s3=self.minio.settings
        )

    @property
    def all_replicas(self) -> list[Replica]:
        """Every process of ours."""
        return [replica for replicas in self.replicas.values() for replica in replicas]

    def client(self, first: int = 0, tenant: str = "default") -> AsyncClient:
        """A client that knows all gateways and begins with one of them."""
        gateways = self.replicas[topology.GATEWAY]
        turned = [*gateways[first:], *gateways[:first]]
        return AsyncClient("ipv4:" + ",".join(gateway.address for gateway in turned), tenant)

    def _start_replicas(self, stack: ExitStack) -> None:
        for name in self.shape.services:
            self.replicas[name] = [
                Replica(name, number, self.shape.step_s, self.backends, **self._environment)
                for number in range(self.shape.replicas)
            ]
        self._start(stack, self.all_replicas)

    @staticmethod
    def _start(stack: ExitStack, servers: Sequence[Server]) -> None:
        for server in servers:
            stack.callback(server.close)
        with ThreadPoolExecutor(STARTING_AT_ONCE) as threads:
            list(threads.map(lambda server: server.start(), servers))
