"""The options of Kafka's clients and topics: from our settings to the vendor's words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from anygpt.settings import MIB, KafkaSettings, LimitSettings
from anygpt.topology import SEGMENT_MS, Topic

BATCH_ROOM = 64 * 1024
"""Bytes that Kafka's batch and record headers may add to the largest record."""
NEVER_MS = 2**31 - 1
"""The producer itself never gives up a record: after that it would need a new identity, and might stay silent."""
CONNECT_MS = 10_000
REQUEST_MS = 4_000
FETCH_MS = 1000
"""How long the broker holds a fetch that finds nothing; what comes is delivered at once."""
EVERY_RECORD = 2**31 - 1
"""A poll takes all that was fetched: of a partition that is paused meanwhile, the client never delivers the rest."""
POLL_MS = 200
"""How long a poll waits: the longest delay of a pause, a commit or a close."""
RETRY_MS = 100
"""Between attempts: with a broker that is away, every one costs all clients of a machine their processor time."""

Options = dict[str, Any]


@dataclass(frozen=True)
class KafkaOptions:
    """What each kind of client is made with."""

    servers: str
    settings: KafkaSettings
    limits: LimitSettings

    def producer(self) -> Options:
        """Acknowledged by all replicas, without repeats, in order, at once."""
        return {
            **self._data,
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": self.settings.linger_ms,
            "batch_size": 256 * 1024,
            "max_request_size": self.limits.message_bytes + BATCH_ROOM,
            "delivery_timeout_ms": NEVER_MS,
            "max_block_ms": REQUEST_MS,
            "request_timeout_ms": REQUEST_MS,
        }

    def follower(self) -> Options:
        """Without a group; a position that is no longer kept is an error."""
        return {**self._consumer, "auto_offset_reset": "none", "request_timeout_ms": REQUEST_MS}

    def member(self, group: str, rank: int) -> Options:
        """The member of a group; `rank` tells those of one process apart."""
        return {
            **self._consumer,
            "auto_offset_reset": "earliest",
            "group_id": group,
            "group_instance_id": f"{self.settings.instance_id}-{rank}" if self.settings.instance_id else None,
            "session_timeout_ms": self.settings.session_timeout_ms,
            "heartbeat_interval_ms": min(1000, self.settings.session_timeout_ms // 4),
        }

    def admin(self) -> Options:
        """For making topics."""
        return self._connection

    def topic(self, topic: Topic) -> Options:
        """A topic's partitions, replicas and limits; its records bear the time of the broker's one clock."""
        replicas = self.settings.replication_factor
        configs = {
            "max.message.bytes": str(self.limits.message_bytes + BATCH_ROOM),
            "message.timestamp.type": "LogAppendTime",
            "min.insync.replicas": str(min(replicas, 2)),
            "retention.ms": str(topic.retention_ms),
            "segment.ms": str(SEGMENT_MS),
        }
        if topic.is_compacted:
            configs |= {"cleanup.policy": "compact,delete", "max.compaction.lag.ms": str(SEGMENT_MS)}
        return {"num_partitions": topic.partitions, "replication_factor": replicas, "configs": configs}

    @property
    def _consumer(self) -> Options:
        return {
            **self._data,
            "enable_auto_commit": False,
            "fetch_max_bytes": 16 * MIB,
            "fetch_max_wait_ms": FETCH_MS,
            "max_partition_fetch_bytes": self.limits.message_bytes + BATCH_ROOM,
            "max_poll_records": EVERY_RECORD,
        }

    @property
    def _data(self) -> Options:
        return {**self._connection, "allow_auto_create_topics": False, "metrics_enabled": False}

    @property
    def _connection(self) -> Options:
        settings = self.settings
        connection: Options = {
            "bootstrap_servers": self.servers.split(","),
            "bootstrap_timeout_ms": CONNECT_MS,
            "reconnect_backoff_max_ms": 1000,
            "retry_backoff_ms": RETRY_MS,
            "security_protocol": settings.security_protocol,
        }
        if settings.security_protocol.startswith("SASL"):
            connection["sasl_mechanism"] = settings.sasl_mechanism
            connection["sasl_plain_username"] = settings.username
            connection["sasl_plain_password"] = settings.password.get_secret_value()
        files = {
            "ssl_cafile": settings.ca_file,
            "ssl_certfile": settings.cert_file,
            "ssl_keyfile": settings.key_file,
        }
        return {**connection, **{name: str(file) for name, file in files.items() if file}}
