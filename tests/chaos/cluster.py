"""The whole system as it is deployed: replicas of every service in processes of their own, on real servers."""

from __future__ import annotations

import signal
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from anygpt import topology
from anygpt.client import AsyncClient
from anygpt.credentials import Credentials
from anygpt.settings import ServiceSettings
from tests.chaos.proxy import Proxy
from tests.servers import Backends, Kafka, Minio, Redis, Server, Service

STARTING_AT_ONCE = 3
EVERYTHING = (topology.GATEWAY, *topology.STAGES)


@dataclass(frozen=True)
class Shape:
    """What a cluster is made of."""

    pack: str
    services: Sequence[str] = EVERYTHING
    """Those that have replicas; the gateway is always among them."""
    replicas: int = 2
    step_s: float | None = 0.1
    """How long a plain stage takes for each response; None: the real stages."""
    environment: Mapping[str, str] = field(default_factory=dict)


class Replica(Service):
    """One process of a service, with a fixed place in its consumer group."""

    def __init__(self, name: str, number: int, shape: Shape, backends: Backends) -> None:
        own = {
            "ANYGPT_KAFKA__INSTANCE_ID": f"{name}-{number}",
            "ANYGPT_PACK": shape.pack,
            "ANYGPT_ENCODE_CACHE_S": "0.001",
            "OMP_NUM_THREADS": "1",
        }
        super().__init__(name, backends, **own, **shape.environment)
        self._step_s = shape.step_s

    def command(self) -> list[str]:
        """A plain service that takes its time, or the real one."""
        if self._step_s is None:
            return super().command()
        return [sys.executable, "-m", "tests.chaos.serve", self.name, str(self._step_s)]

    def environment(self) -> dict[str, str]:
        """The port comes by the environment here."""
        return {**super().environment(), "ANYGPT_PORT": str(self.port)}

    def tidy(self) -> None:
        """Have the process free what nobody refers to, such as the sockets of connections that failed."""
        self._signal(signal.SIGWINCH)

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

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.kafka = Kafka()
        self.minio = Minio()
        self.redis = Redis()
        self.replicas: dict[str, list[Replica]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _start(stack, (self.kafka, self.minio, self.redis))
            self.store_proxy = stack.enter_context(Proxy(self.minio.port))
            url = f"s3://127.0.0.1:{self.store_proxy.port}/{self.minio.bucket}"
            servers = Backends.of(self.kafka, self.minio, self.redis)
            servers.initialise()
            backends = Backends({**servers.environment, "ANYGPT_STORE": url})
            self._add(topology.GATEWAY, backends)
            batch_gateway = {"ANYGPT_GATEWAY": self.replicas[topology.GATEWAY][0].address}
            for name in self.shape.services:
                if name != topology.GATEWAY:
                    self._add(name, Backends({**backends.environment, **batch_gateway}))
            _start(stack, self.all_replicas)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        for replica in self.all_replicas:
            replica.kill()
        self._stack.close()

    def _add(self, name: str, backends: Backends) -> None:
        self.replicas[name] = [
            Replica(name, number, self.shape, backends) for number in range(self.shape.replicas)
        ]

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
        addresses = ",".join(gateway.address for gateway in turned)
        return AsyncClient(f"ipv4:{addresses}", tenant, Credentials(insecure=True))


def _start(stack: ExitStack, servers: Sequence[Server]) -> None:
    for server in servers:
        stack.callback(server.close)
    with ThreadPoolExecutor(STARTING_AT_ONCE) as threads:
        list(threads.map(lambda server: server.start(), servers))
