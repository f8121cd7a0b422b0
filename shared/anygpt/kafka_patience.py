"""What a member's client of kafka-python 3.0.12 has to be kept from: turning a core, and forgetting to join."""

from __future__ import annotations

from typing import Any

from anygpt.kafka_options import POLL_MS


def make_patient(consumer: Any) -> None:
    """Let a member's polls wait although a heartbeat is overdue, which its own task sends.

    The vendor's do not wait at all then: with a broker that hangs they turn, and each turn leaves callbacks at the
    fetch in flight, 10 MB a second.
    """
    consumer._coordinator.time_to_next_poll = lambda: POLL_MS / 1000


def remember_join(consumer: Any) -> None:
    """Ask again for a join that outlasts a poll: the vendor forgets it once its leader has assigned, heartbeats too."""
    if (coordinator := consumer._coordinator)._join_task is not None:
        coordinator.request_rejoin()
