"""Where kafka-python 3.0.12 turns a core, or forgets what it was doing, while a broker is away or does not answer."""

from __future__ import annotations

from kafka import KafkaConsumer
from kafka.net.compat import KafkaNetClient

from anygpt.kafka_options import POLL_MS, RETRY_MS


class PatientClient(KafkaNetClient):  # type: ignore[misc]
    """The producer's network client, which waits for a broker that is away."""

    def connection_delay(self, node: object) -> float:
        """Milliseconds, as the sender takes them: the vendor's own answer is in seconds, and 0 while it connects."""
        return max(1000.0 * float(super().connection_delay(node)), RETRY_MS)


def make_patient(consumer: KafkaConsumer) -> None:
    """Let a member's polls wait although a heartbeat is overdue, which its own task sends.

    The vendor's do not wait at all then: with a broker that hangs they turn, and each turn leaves callbacks at the
    fetch in flight, 10 MB a second.
    """
    consumer._coordinator.time_to_next_poll = lambda: POLL_MS / 1000


def remember_join(consumer: KafkaConsumer) -> None:
    """Ask again for a join that outlasts a poll: the vendor forgets it once its leader has assigned, heartbeats too."""
    if (coordinator := consumer._coordinator)._join_task is not None:
        coordinator.request_rejoin()
