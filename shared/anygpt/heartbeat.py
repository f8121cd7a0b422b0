"""Heartbeats: each replica of a stage tells its load and its pack on a topic that no order travels on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from anygpt import topology
from anygpt.bus import Bus
from anygpt.errors import AnyGPTError
from anygpt.identity import new_id
from anygpt.v1 import bus_pb2, types_pb2

INTERVAL_S = 2.0


class Beating(Protocol):
    """What a heartbeat tells about."""

    @property
    def name(self) -> str:
        """The stage."""
        ...

    @property
    def running(self) -> int:
        """Errands that have not ended."""
        ...

    @property
    def capacity(self) -> int:
        """Errands it works on at once."""
        ...


class Heart:
    """Publishes a heartbeat for each stage of the process, every two seconds."""

    def __init__(self, bus: Bus, stages: Sequence[Beating], pack_digest: str) -> None:
        self._bus = bus
        self._stages = stages
        self._pack_digest = pack_digest
        self._replica = new_id()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to beat."""
        if self._stages:
            self._task = asyncio.create_task(self._beat())

    async def stop(self) -> None:
        """Fall silent."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _beat(self) -> None:
        while True:
            for stage in self._stages:
                beat = types_pb2.Heartbeat(
                    stage=stage.name,
                    replica=self._replica,
                    running=min(stage.running, stage.capacity),
                    waiting=max(0, stage.running - stage.capacity),
                    capacity=stage.capacity,
                    pack_digest=self._pack_digest,
                )
                beat.sent_at.GetCurrentTime()
                order = bus_pb2.Control(heartbeat=beat)
                with suppress(AnyGPTError):
                    await self._bus.publish(topology.HEARTBEATS, self._replica, order.SerializeToString(), {})
            await asyncio.sleep(INTERVAL_S)
