"""Settings to what they stand for: bus, store, memory, access; a vendor's client is imported only where it is used."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from anygpt.access import Access, Verifier
from anygpt.bus import Bus
from anygpt.bus_memory import MemoryBus
from anygpt.bus_sealed import SealedBus
from anygpt.errors import InvalidInput
from anygpt.keys import KeyVerifier, OwnKey
from anygpt.memory import Memory, SqliteMemory
from anygpt.seals import Seals
from anygpt.settings import AccessSettings, S3Settings, ServiceSettings
from anygpt.store import Store
from anygpt.store_folder import FolderStore

A_STORE = "a store is file:///folder or s3://host:port/bucket"


async def open_bus(settings: ServiceSettings) -> Bus:
    """memory:// or kafka://host:port[,host:port]. Raises InvalidInput for another scheme."""
    if settings.bus == "memory://":
        return MemoryBus(settings.limits)
    if settings.bus.startswith("kafka://"):
        from anygpt.kafka import KafkaBus

        servers = settings.bus.removeprefix("kafka://")
        bus = await KafkaBus(servers, settings.kafka, settings.limits).open()
        key = settings.seal_key.get_secret_value()
        return SealedBus(bus, Seals(key)) if key else bus
    raise InvalidInput("a bus is memory:// or kafka://host:port[,host:port]", field="bus")


async def open_store(settings: ServiceSettings) -> Store:
    """file:///folder or s3://host:port/bucket. Raises InvalidInput for another scheme."""
    url = urlsplit(settings.store_url)
    if url.scheme == "file" and not url.netloc:
        return await FolderStore(Path(url.path)).open()
    if url.scheme == "s3":
        from anygpt.minio import MinioStore

        return MinioStore(*_s3(settings))
    raise InvalidInput(A_STORE, field="store")


async def open_memory(settings: ServiceSettings) -> Memory:
    """sqlite:///file or redis://host:port/0. Raises InvalidInput for another scheme."""
    url = urlsplit(settings.memory_url)
    if url.scheme == "sqlite" and not url.netloc:
        return await SqliteMemory(Path(url.path.removeprefix("/"))).open()
    if url.scheme in ("redis", "rediss"):
        from anygpt.redis import RedisMemory

        return await RedisMemory(settings.memory_url).open()
    raise InvalidInput("a memory is sqlite:///file or redis://host:port/0", field="memory")


def open_access(settings: AccessSettings, own_key: str) -> Access:
    """Keys of a file, tokens of an issuer, and the process's own key; nobody is asked where neither is set."""
    verifiers: list[Verifier] = [OwnKey(own_key)] if settings.is_asked else []
    if settings.keys_file:
        verifiers.append(KeyVerifier(settings.keys_file))
    if settings.oidc.issuer:
        from anygpt.tokens import TokenVerifier

        verifiers.append(TokenVerifier(settings.oidc))
    return Access(verifiers)


async def create_infrastructure(settings: ServiceSettings) -> list[str]:
    """Make the topics and the bucket that are missing, and name them; what is in process needs nothing."""
    created: list[str] = []
    if settings.bus.startswith("kafka://"):
        from anygpt.kafka import create_accounts, create_topics

        created += await create_topics(settings)
        created += await create_accounts(settings) if settings.kafka.accounts else []
    if urlsplit(settings.store_url).scheme == "s3":
        from anygpt.minio import MinioStore

        store = MinioStore(*_s3(settings))
        created += ["bucket"] if await store.make_bucket() else []
        await store.close()
    return created


def _s3(settings: ServiceSettings) -> tuple[str, str, S3Settings]:
    url = urlsplit(settings.store_url)
    bucket = url.path.strip("/")
    if not url.hostname or url.username or url.query or not bucket or "/" in bucket:
        raise InvalidInput(A_STORE, field="store")
    return url.netloc, bucket, settings.s3
