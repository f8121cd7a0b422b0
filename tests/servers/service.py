"""One of our own services in its own process, started as an operator would: `anygpt serve NAME`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.servers.kafka import Kafka
from tests.servers.minio import Minio
from tests.servers.process import Server
from tests.servers.redis import Redis
from tests.servers.settings import child_environment

PROGRAM = str(Path(sys.executable).with_name("anygpt"))


@dataclass(frozen=True)
class Backends:
    """The environment names that lead a service to its bus, store and memory."""

    environment: Mapping[str, str]

    @classmethod
    def of(cls, kafka: Kafka, minio: Minio, redis: Redis) -> Self:
        """The backends that these servers are."""
        return cls(
            {
                "ANYGPT_BUS": kafka.url,
                "ANYGPT_STORE": minio.url,
                "ANYGPT_MEMORY": redis.url,
                "ANYGPT_S3__ACCESS_KEY": minio.access_key,
                "ANYGPT_S3__SECRET_KEY": minio.secret_key,
            }
        )

    def initialise(self) -> None:
        """Makes the topics and the bucket; what exists already stays."""
        subprocess.run([PROGRAM, "init"], check=True, env=child_environment(**self.environment))


class Service(Server):
    """A service of ours on a free port: `address` is where its gRPC server listens."""

    start_seconds = 180.0

    def __init__(self, name: str, backends: Backends, **environment: str) -> None:
        self.name = name
        super().__init__()
        self._environment = {"ANYGPT_DATA": str(self.data), **backends.environment, **environment}

    @property
    def address(self) -> str:
        """HOST:PORT of its gRPC server."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The address: a service of ours is called by gRPC."""
        return self.address

    def command(self) -> list[str]:
        """The command of compose and the chart."""
        return [PROGRAM, "serve", self.name, "--host", "127.0.0.1", "--port", str(self.port)]

    def environment(self) -> dict[str, str]:
        """Its backends and its settings."""
        return self._environment

    def answers(self) -> bool:
        """Ready by the health protocol, that is after the warm-up."""
        with grpc.insecure_channel(self.address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                status = stub.Check(health_pb2.HealthCheckRequest(service=self.name), timeout=2).status
            except grpc.RpcError:
                return False
        return bool(status == health_pb2.HealthCheckResponse.SERVING)
