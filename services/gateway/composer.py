"""The composer: takes each accepted request of its partitions from media to prompt to terminal event.

It acts on what the journal says and writes its decisions there, so another replica can go on where it stopped. Each
owner of a request claims it in the journal first; the fold takes no decision of an owner that a later one has followed.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial

from anygpt import topology
from anygpt.bus import Bus, Consumer, Record, Tenure
from anygpt.errors import AnyGPTError, Exhausted, Unavailable
from anygpt.recent import Recent
from anygpt.stage import now_ms
from anygpt.v1 import bus_pb2
from services.gateway.composition import Composition
from services.gateway.errand import Errand
from services.gateway.journal import Fold
from services.gateway.streams import parse_reply

log = logging.getLogger(__name__)
GROUP = topology.GATEWAY
UNFINISHED = 65_536
"""A request's terminal event stands behind all its records: the bound must not keep it from coming."""
TICK_S = 0.1
RETRY_S = 0.5
DECISIVE = frozenset({"accepted", "encoded", "span_finished", "failure", "cancel"})
"""Records after which there may be something to do."""


class Composer:
    """Runs the requests of the partitions that this replica's membership in the group gives it."""

    def __init__(self, bus: Bus, composition: Composition) -> None:
        self._bus = bus
        self._composition = composition
        self._errands: dict[str, Errand] = {}
        self._ended: Recent[str, None] = Recent()
        """Requests whose terminal event was read: a record that is repeated after it begins nothing."""
        self._caught_up: dict[int, Tenure] = {}
        """Partitions whose journal was read to where it ended when they were given to this replica."""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> int:
        """Requests without a terminal event."""
        return len(self._errands)

    async def open(self) -> None:
        """Join the group and begin."""
        self._consumer = await self._join()
        self._tasks = [asyncio.create_task(self._stay()), asyncio.create_task(self._watch())]

    async def close(self) -> None:
        """Leave the group; another replica goes on."""
        runners = [errand.runner for errand in self._errands.values() if errand.runner is not None]
        for task in (*self._tasks, *runners):
            task.cancel()
        await asyncio.gather(*self._tasks, *runners, return_exceptions=True)
        if self._tasks:
            await self._consumer.close()

    async def _join(self) -> Consumer:
        return await self._bus.consume([topology.REPLIES], GROUP, UNFINISHED)

    async def _stay(self) -> None:
        """Read; a membership that ends before the bus does is begun anew, and nothing is kept of it."""
        while True:
            try:
                return await self._read(self._consumer)
            except AnyGPTError as error:
                log.warning("the composer's membership has ended: %s", error.message)
            for errand in tuple(self._errands.values()):
                self._drop(errand)
            self._caught_up.clear()
            await asyncio.sleep(RETRY_S)
            with suppress(AnyGPTError):
                self._consumer = await self._join()

    async def _read(self, consumer: Consumer) -> None:
        async for record in consumer:
            tenure = consumer.tenure(record)
            if tenure is None:
                continue
            reply = parse_reply(record)
            errand = self._errand_of(reply, tenure) if reply else None
            if reply is None or errand is None:
                consumer.finish(record)
            else:
                errand.add(record, reply)
                if errand.fold.is_ended:
                    self._end(errand)
                elif _is_decisive(reply):
                    self._poke(errand)
            self._catch_up(record, tenure)

    def _errand_of(self, reply: bus_pb2.Reply, tenure: Tenure) -> Errand | None:
        errand = self._errands.get(reply.request_id)
        if errand is not None and errand.tenure != tenure:
            self._drop(errand)
            errand = None
        if errand is None and reply.HasField("accepted") and reply.request_id not in self._ended:
            errand = self._errands[reply.request_id] = Errand(Fold(reply.request_id), tenure)
        return errand

    def _catch_up(self, record: Record, tenure: Tenure) -> None:
        """Decisions wait until all that earlier owners wrote was read; then every request is looked at."""
        if self._caught_up.get(record.partition) == tenure or record.offset + 1 < tenure.first_new:
            return
        self._caught_up[record.partition] = tenure
        for errand in tuple(self._errands.values()):
            if errand.records[0].partition == record.partition:
                self._poke(errand)

    def _end(self, errand: Errand) -> None:
        del self._errands[errand.fold.request_id]
        self._ended[errand.fold.request_id] = None
        for record in errand.records:
            self._consumer.finish(record)

    def _drop(self, errand: Errand) -> None:
        """Leave a request to its new owner."""
        self._errands.pop(errand.fold.request_id, None)
        if errand.runner is not None:
            errand.runner.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for errand in tuple(self._errands.values()):
                if self._consumer.tenure(errand.records[0]) != errand.tenure or errand.is_another_s:
                    self._drop(errand)
                elif now_ms() >= errand.call.deadline_ms:
                    self._poke(errand)

    def _poke(self, errand: Errand) -> None:
        """Have the errand's next step taken, in a task of its own: no request waits for another's store."""
        if self._caught_up.get(errand.records[0].partition) != errand.tenure:
            return
        errand.is_due = True
        if errand.runner is None:
            errand.runner = asyncio.create_task(self._run(errand))
            errand.runner.add_done_callback(partial(self._ran, errand))

    async def _run(self, errand: Errand) -> None:
        while errand.is_due:
            errand.is_due = False
            try:
                await self._composition.step(errand)
            except (Unavailable, Exhausted):
                # A server behind us is away, and may be back before the deadline.
                await asyncio.sleep(RETRY_S)
                errand.is_due = True
            except AnyGPTError as error:
                await self._composition.fail(errand, error)

    def _ran(self, errand: Errand, runner: asyncio.Task[None]) -> None:
        errand.runner = None
        error = None if runner.cancelled() else runner.exception()
        if error is not None and errand.crash is None:
            log.error("composing request %s failed", errand.fold.request_id, exc_info=error)
            errand.crash = AnyGPTError(f"{topology.GATEWAY} failed ({type(error).__name__})")
        if error is not None or errand.is_due:
            self._poke(errand)


def _is_decisive(reply: bus_pb2.Reply) -> bool:
    return reply.WhichOneof("body") in DECISIVE or reply.generated.HasField("finished")
