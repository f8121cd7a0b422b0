"""The servers as pytest fixtures: one of each for a session, started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.kafka import Kafka
from tests.servers.minio import Minio
from tests.servers.redis import Redis
from tests.servers.service import Backends


@pytest.fixture(scope="session")
def kafka_server() -> Iterator[Kafka]:
    """A broker shared by all tests: whoever breaks it, starts it again."""
    with Kafka() as server:
        yield server


@pytest.fixture(scope="session")
def minio_server() -> Iterator[Minio]:
    """A store shared by all tests."""
    with Minio() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A memory shared by all tests."""
    with Redis() as server:
        yield server


@pytest.fixture(scope="session")
def kafka(kafka_server: Kafka) -> str:
    """kafka://127.0.0.1:PORT"""
    return kafka_server.url


@pytest.fixture(scope="session")
def minio(minio_server: Minio) -> str:
    """s3://127.0.0.1:PORT/BUCKET; the credentials are `minio_server.settings`."""
    return minio_server.url


@pytest.fixture(scope="session")
def redis(redis_server: Redis) -> str:
    """redis://127.0.0.1:PORT/0"""
    return redis_server.url


@pytest.fixture(scope="session")
def backends(kafka_server: Kafka, minio_server: Minio, redis_server: Redis) -> Backends:
    """All three, with the topics made: what a service in its own process needs."""
    made = Backends.of(kafka_server, minio_server, redis_server)
    made.initialise()
    return made
