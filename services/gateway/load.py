"""The load of the stages, from the heartbeats of all replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

from google.protobuf.message import DecodeError

from anygpt import topology
from anygpt.bus import Bus, Record
from anygpt.errors import AnyGPTError
from anygpt.stage import now_ms
from anygpt.v1 import bus_pb2, types_pb2

log = logging.getLogger(__name__)
RETRY_S = 0.5
GONE_MS = 10_000
"""A replica whose last beat is so much older than the newest of any is gone; when the bus is down, nobody is."""


class Load:
    """What the living replicas of each stage carry and can carry."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._beats: dict[str, dict[str, types_pb2.Heartbeat]] = {}
        self._newest_ms = 0
        self._reader: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to listen, a little in the past: replicas that are there already are known at once."""
        self._reader = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Stop listening."""
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def see(self, beat: types_pb2.Heartbeat) -> None:
        """Take a heartbeat into account."""
        self._beats.setdefault(beat.stage, {})[beat.replica] = beat
        self._newest_ms = max(self._newest_ms, beat.sent_at.ToMilliseconds())

    def capacity(self, stage: str) -> int | None:
        """Errands that a stage works on at once; 0: all its replicas are gone; None: it was never heard of."""
        if stage not in self._beats:
            return None
        return sum(beat.capacity for beat in self._living(stage))

    def busy(self, stage: str) -> int:
        """Errands that a stage has, working or waiting."""
        return sum(beat.running + beat.waiting for beat in self._living(stage))

    def _living(self, stage: str) -> list[types_pb2.Heartbeat]:
        beats = self._beats.get(stage, {})
        oldest_ms = self._newest_ms - GONE_MS
        for replica in [name for name, beat in beats.items() if beat.sent_at.ToMilliseconds() < oldest_ms]:
            del beats[replica]
        return list(beats.values())

    async def _listen(self) -> None:
        while True:
            try:
                await self._read(self._bus.follow(topology.HEARTBEATS, since_ms=now_ms() - GONE_MS))
            except AnyGPTError as error:
                log.warning("heartbeats were missed: %s", error.message)
                await asyncio.sleep(RETRY_S)

    async def _read(self, records: AsyncIterator[Record]) -> None:
        async for record in records:
            order = bus_pb2.Control()
            try:
                order.ParseFromString(record.value)
            except DecodeError:
                continue
            if order.HasField("heartbeat"):
                self.see(order.heartbeat)
