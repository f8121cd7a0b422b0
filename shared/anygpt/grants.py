"""Grants: what each service's account may do on the bus, derived from the map. What is not granted is denied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from anygpt.topology import GATEWAY, SERVICES, STAGES, TOPICS

AUTOSCALER = "autoscaler"
"""The account of whoever scales stages by their lag."""
ACCOUNTS = (*SERVICES, AUTOSCALER)


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One account may do one thing with one topic or group. To read or to write is also to describe."""

    account: str
    operation: Literal["READ", "WRITE", "DESCRIBE"]
    resource: Literal["TOPIC", "GROUP"]
    name: str


def grants() -> Iterator[Grant]:
    """All grants of all accounts."""
    for topic in TOPICS.values():
        yield from (Grant(writer, "WRITE", "TOPIC", topic.name) for writer in topic.writers)
        yield from (Grant(reader, "READ", "TOPIC", topic.name) for reader in topic.readers)
    yield Grant(GATEWAY, "READ", "GROUP", GATEWAY)
    for entry in STAGES.values():
        yield Grant(entry.name, "READ", "GROUP", entry.name)
        yield Grant(AUTOSCALER, "DESCRIBE", "GROUP", entry.name)
        yield from (Grant(AUTOSCALER, "DESCRIBE", "TOPIC", name) for name in (entry.topic, entry.batch_topic))


def of_accounts(accounts: Iterable[str]) -> set[Grant]:
    """The grants of some accounts."""
    wanted = frozenset(accounts)
    return {grant for grant in grants() if grant.account in wanted}
