"""Apache Kafka as one KRaft node: broker and controller in one small JVM."""

from __future__ import annotations

import socket
import struct
import subprocess
from pathlib import Path

from tests.servers.install import java_binary, kafka_jars
from tests.servers.process import Server, ServerFailed, free_port

API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)
HEAP = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
CLUSTER_ID = "anygpt-tests-cluster00"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={logs}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=300
broker.session.timeout.ms=3000
controller.quorum.election.timeout.ms=300
log.cleaner.dedupe.buffer.size=16777216
log.index.size.max.bytes=1048576
num.network.threads=2
num.io.threads=4
background.threads=2
"""


class Kafka(Server):
    """A Kafka broker on a free port; topics are made by who needs them, never by accident."""

    name = "kafka"

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self.controller_port = free_port()

    @property
    def bootstrap(self) -> str:
        """HOST:PORT, as Kafka clients take it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """kafka://127.0.0.1:PORT"""
        return f"kafka://{self.bootstrap}"

    @property
    def properties(self) -> Path:
        """The broker's configuration file."""
        return self.data / "server.properties"

    def command(self) -> list[str]:
        """The broker in the foreground."""
        return [*self._java(*HEAP), "kafka.Kafka", str(self.properties)]

    def prepare(self) -> None:
        """Writes the configuration and formats the storage."""
        ports = {"port": self.port, "controller_port": self.controller_port}
        self.properties.write_text(PROPERTIES.format(logs=self.data / "logs", **ports))
        self._format()

    def answers(self) -> bool:
        """An answer to ApiVersions: the broker handles requests only when it has joined its cluster."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(API_VERSIONS_REQUEST)
            return len(connection.recv(4)) == 4

    def _format(self) -> None:
        tool = [*self._java("-XX:TieredStopAtLevel=1"), "kafka.tools.StorageTool", "format"]
        result = subprocess.run(
            [*tool, "--cluster-id", CLUSTER_ID, "--config", str(self.properties)],
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode:
            raise ServerFailed(f"kafka storage was not formatted:\n{result.stdout}{result.stderr}")

    def _java(self, *options: str) -> list[str]:
        classpath = f"{kafka_jars()}/*"
        return [java_binary(), *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath]
