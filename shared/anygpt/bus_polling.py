"""What a bus needs whose client has threads: readers that poll on a thread of theirs, acknowledgements in bulk."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from anygpt.bus import Record, Tenure
from anygpt.bus_reader import Backlog, Reader
from anygpt.errors import AnyGPTError, Unavailable
from anygpt.settings import MIB

Partition = tuple[str, int]
Offsets = Mapping[Partition, int]

LONG_RECORDS = 256
LONG_BYTES = MIB
"""A backlog as long as this pauses its partition."""
POSTED_BATCHES = 4
COMMIT_S = 0.2
SPARE_S = 3.0
"""A member of a group that was given nothing for so long is a spare one."""


class PolledClient(Protocol):
    """One vendor's client, used by one thread. Its calls raise AnyGPTError, Unavailable where a retry may help."""

    def poll(self) -> Mapping[Partition, list[Record]]:
        """Wait a moment for records."""
        ...

    def end(self, partition: Partition) -> int:
        """Where a partition ended when its last records were polled."""
        ...

    def pause(self, partitions: frozenset[Partition]) -> None:
        """Poll no records of these partitions, and of all others again."""
        ...

    def commit(self, offsets: Offsets, failed: Callable[[Offsets], None] | None) -> None:
        """Commit in the background, telling `failed` of a failure; without it, now."""
        ...

    def is_member(self) -> bool:
        """Whether the group has admitted this client."""
        ...

    def close(self) -> None:
        """Leave the group and disconnect."""
        ...


class PolledReader(Reader):
    """Reads what its own thread polls: the thread owns the client, the event loop everything else."""

    def __init__(self, connect: Callable[[], PolledClient], bound: int | None) -> None:
        super().__init__()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connect = connect
        self._bound = bound
        self._loop = asyncio.get_running_loop()
        self._backlogs: dict[Partition, Backlog] = {}
        self._paused: frozenset[Partition] = frozenset()
        self._room = threading.Semaphore(POSTED_BATCHES)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bus-poll", daemon=True)

    async def __anext__(self) -> Record:
        """See Reader; a partition that waits for its backlog goes on when that is short."""
        record = await super().__anext__()
        if self._paused:
            partition = (record.topic, record.partition)
            if partition in self._paused and not _is_long(self._backlogs.get(partition)):
                self._paused -= {partition}
        return record

    def start(self) -> None:
        """Begin to poll, unless it is to end already."""
        if self._stopping.is_set():
            self._thread_ended(None)
        else:
            self._thread.start()

    def stop(self) -> None:
        """End; the thread leaves at its next turn."""
        self._stopping.set()
        self.end()

    async def left(self) -> None:
        """Wait until the thread has left."""
        if self._thread.is_alive():
            await asyncio.wait([self.ended])

    def give(self, partitions: set[Partition], epoch: int = 0) -> None:
        """Take the records of these partitions from now on; from any thread, as all that follow."""
        self._post(self._given, partitions, epoch)

    def _given(self, partitions: set[Partition], epoch: int) -> None:
        for partition in partitions:
            self._backlogs[partition] = Backlog(self, self._bound, epoch)

    def _attend(self, client: PolledClient) -> None:
        """Do what is due between two polls."""

    def _leave(self, client: PolledClient) -> None:
        """Do what is due before the client is closed."""

    def _run(self) -> None:
        error: AnyGPTError | None = Unavailable("the thread that polls the bus has ended")
        try:
            client = self._connect()
            try:
                while not self._stopping.is_set():
                    self._turn(client)
                self._leave(client)
            finally:
                client.close()
            error = None
        except AnyGPTError as failure:
            error = failure
        finally:
            self._post(self._thread_ended, error)

    def _turn(self, client: PolledClient) -> None:
        try:
            client.pause(self._paused)
            self._attend(client)
            batches = client.poll()
        except Unavailable as error:
            if not error.retry_after_ms:
                raise
            self._stopping.wait(error.retry_after_ms / 1000)
            return
        if batches and not self._stopping.is_set():
            self._room.acquire()
            self._post(self._arrive, {one: (client.end(one), batch) for one, batch in batches.items()})

    def _post(self, call: Callable[..., None], *arguments: object) -> None:
        """Have the loop do something, in order. A loop that is closed does nothing more."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _arrive(self, batches: Mapping[Partition, tuple[int, list[Record]]]) -> None:
        self._room.release()
        for partition, (end, records) in batches.items():
            backlog = self._backlogs.get(partition)
            if backlog is not None:
                backlog.begin(end)
                backlog.add(records)
                if _is_long(backlog):
                    self._paused |= {partition}

    def _thread_ended(self, error: BaseException | None) -> None:
        self.end(error)
        if not self.ended.done():
            self.ended.set_result(None)


class PolledFollower(PolledReader):
    """A reader without a group."""

    def __init__(self, connect: Callable[[], PolledClient]) -> None:
        super().__init__(connect, None)
        self._behind: dict[Partition, int] | None = None
        """Where partitions ended that were not read so far; None before that is known."""

    @property
    def is_current(self) -> bool:
        """See Follower."""
        return self._behind is not None and not self._behind

    async def __anext__(self) -> Record:
        """See Reader."""
        record = await super().__anext__()
        partition = (record.topic, record.partition)
        if self._behind and record.offset + 1 >= self._behind.get(partition, record.offset + 2):
            del self._behind[partition]
        return record

    def begin(self, starts: Offsets, ends: Offsets) -> None:
        """Read from these positions on; the partitions end at `ends`."""
        self._behind = {one: ends[one] for one, start in starts.items() if start < ends[one]}
        self.give(set(starts))
        self.start()

    async def aclose(self) -> None:
        """See Follower. The thread leaves by itself."""
        self.stop()


class PolledMember(PolledReader):
    """A member of a consumer group; its client tells it of the partitions that come and go."""

    def __init__(self, connect: Callable[[PolledMember], PolledClient], bound: int) -> None:
        super().__init__(lambda: connect(self), bound)
        self.joined: asyncio.Future[None] = self._loop.create_future()
        self._finished: dict[Partition, int] = {}
        """What is to be committed."""
        self._latest: dict[Partition, int] = {}
        """What was to be committed last: a commit that fails late must not undo a later one."""
        self._finished_lock = threading.Lock()
        self._commit_at = 0.0
        self._spare_at = time.monotonic() + SPARE_S

    def finish(self, record: Record) -> None:
        """See Consumer. A record of a partition that went to another member is ignored."""
        partition = (record.topic, record.partition)
        backlog = self._backlogs.get(partition)
        offset = backlog.finish(record.offset) if backlog is not None else None
        if offset is not None:
            with self._finished_lock:
                self._finished[partition] = self._latest[partition] = offset

    def tenure(self, record: Record) -> Tenure | None:
        """See Consumer."""
        backlog = self._backlogs.get((record.topic, record.partition))
        return backlog.tenure if backlog is not None else None

    async def close(self) -> None:
        """See Consumer."""
        self.stop()
        await self.left()

    def take_finished(self) -> Offsets:
        """The offsets that are to be committed, once."""
        with self._finished_lock:
            finished, self._finished = self._finished, {}
        return finished

    def lose(self, partitions: set[Partition]) -> None:
        """Forget partitions: they are others'."""
        self._post(self._lost, partitions)

    def _attend(self, client: PolledClient) -> None:
        now = time.monotonic()
        if now >= self._commit_at:
            self._commit_at = now + COMMIT_S
            if offsets := self.take_finished():
                client.commit(offsets, self.try_again)
        if now >= self._spare_at and client.is_member():
            self._spare_at = float("inf")
            self.give(set())

    def _leave(self, client: PolledClient) -> None:
        if offsets := self.take_finished():
            client.commit(offsets, None)

    def try_again(self, offsets: Offsets) -> None:
        """Commit these partitions once more, as far as they are finished by now."""
        with self._finished_lock:
            for partition in offsets:
                if partition in self._latest:
                    self._finished[partition] = self._latest[partition]

    def _given(self, partitions: set[Partition], epoch: int) -> None:
        super()._given(partitions, epoch)
        if not self.joined.done():
            self.joined.set_result(None)

    def _lost(self, partitions: set[Partition]) -> None:
        self._paused -= partitions
        with self._finished_lock:
            for partition in partitions:
                self._finished.pop(partition, None)
                self._latest.pop(partition, None)
        for partition in partitions:
            if backlog := self._backlogs.pop(partition, None):
                backlog.drop()

    def _thread_ended(self, error: BaseException | None) -> None:
        super()._thread_ended(error)
        if not self.joined.done():
            self.joined.set_exception(error or Unavailable("the bus is closed"))


class Acknowledgements:
    """Brings a producer's results to the event loop, many with one wake-up."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._results: deque[tuple[asyncio.Future[None], int, object]] = deque()
        self.waiting_bytes = 0
        self._is_waking = False

    async def of(self, sent: Any, size_bytes: int) -> None:
        """Wait for the acknowledgement of what a producer was given. Raises its error."""
        reply: asyncio.Future[None] = self._loop.create_future()
        self.waiting_bytes += size_bytes
        sent.add_callback(self._post, reply, size_bytes)
        sent.add_errback(self._post, reply, size_bytes)
        await reply

    def _post(self, reply: asyncio.Future[None], size_bytes: int, result: object) -> None:
        self._results.append((reply, size_bytes, result))
        if not self._is_waking:
            self._is_waking = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._flush)

    def _flush(self) -> None:
        self._is_waking = False
        while self._results:
            reply, size_bytes, result = self._results.popleft()
            self.waiting_bytes -= size_bytes
            if reply.done():
                continue
            if isinstance(result, Exception):
                reply.set_exception(result)
            else:
                reply.set_result(None)


def _is_long(backlog: Backlog | None) -> bool:
    return backlog is not None and (len(backlog) >= LONG_RECORDS or backlog.size_bytes >= LONG_BYTES)
