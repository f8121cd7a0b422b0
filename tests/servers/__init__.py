"""Real Kafka, MinIO and Redis for tests, without Docker.

`python -m tests.servers install` fetches and builds them once, into the cache outside the tree;
`python -m tests.servers run` starts all three and prints their URLs. In a test:

    with Kafka() as kafka:
        kafka.url        # kafka://127.0.0.1:PORT
        kafka.kill()     # faults: kill, stop, start, paused, restart_empty
            kafka.start()    # the same port and data

`Service` is one of our own services as such a process, on the `Backends`.
"""

from __future__ import annotations

from tests.servers.install import install
from tests.servers.kafka import Kafka
from tests.servers.minio import Minio
from tests.servers.process import Server, ServerFailed
from tests.servers.redis import Redis
from tests.servers.service import Backends, Service

__all__ = ["Backends", "Kafka", "Minio", "Redis", "Server", "ServerFailed", "Service", "install"]
