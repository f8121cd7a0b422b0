"""A stage: one service that turns requests into a stream of responses. Its author writes `handle`."""

from __future__ import annotations

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from google.protobuf.message import Message

from anygpt.errors import DeadlineExpired, RequestCancelled
from anygpt.topology import Priority
from anygpt.v1 import types_pb2

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True, eq=False)
class Call:
    """One request's errand at one stage: whose it is, until when, and whether it still matters."""

    request_id: str
    tenant: str
    deadline_ms: int
    """Absolute, Unix milliseconds."""
    priority: Priority = types_pb2.PRIORITY_INTERACTIVE
    attempt: str = ""
    conversation_id: str = ""
    """Where it is a turn of one."""
    trace: str = ""
    """W3C traceparent of the work at hand; what is sent on carries it."""
    sent_ms: int = field(default_factory=now_ms)
    """When the work was asked for, Unix milliseconds."""
    cancelled_ms: int = 0
    """When this process heard of a cancel, Unix milliseconds."""
    _cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def is_batch(self) -> bool:
        """Whether interactive work goes first."""
        return self.priority == types_pb2.PRIORITY_BATCH

    @property
    def left_s(self) -> float:
        """Seconds until the deadline; negative after it."""
        return (self.deadline_ms - now_ms()) / 1000

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the work to stop at its next step; safe from any thread."""
        self.cancelled_ms = self.cancelled_ms or now_ms()
        self._cancelled.set()

    def check(self) -> None:
        """Raise RequestCancelled or DeadlineExpired. Called before work and at every step, from any thread."""
        if self._cancelled.is_set():
            raise RequestCancelled("the request was cancelled")
        if now_ms() >= self.deadline_ms:
            raise DeadlineExpired("the request's deadline has passed")


class Stage(ABC, Generic[In, Out]):
    """Turns the requests of one span into responses; knows nothing of doors, buses and other stages."""

    name: str = ""
    """Its name in the topology; whoever builds the process gives it."""

    async def open(self) -> None:
        """Load the models and warm them up: after it, the stage is ready."""

    @abstractmethod
    def handle(self, requests: AsyncIterator[In], call: Call) -> AsyncIterator[Out]:
        """Yield responses. One request comes, or for a span in chunks several in order.

        Call `call.check()` before work and at every step; raise AnyGPTError for what the caller should know.
        """

    async def probe(self) -> None:
        """Try the models on next to nothing, and raise what is wrong: asked after work that failed unforeseen."""

    async def ended(self) -> None:
        """Wait until the stage can work no more, and raise why; most work for as long as they are open."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Free what `open` took."""
