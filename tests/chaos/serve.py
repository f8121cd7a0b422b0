"""One service of the plain system, in no hurry: `python -m tests.chaos.serve NAME STEP_S`; settings as for `anygpt`.

Every stage waits STEP_S before each of its responses, so that a fault finds work under way in every phase. At SIGUSR1
the process's wall clock jumps an hour ahead, at SIGUSR2 back; at SIGWINCH it frees what nobody refers to.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import typer

from anygpt.main import Runtime, Service, serve
from anygpt.settings import ServiceSettings
from anygpt.stage import Call, Stage
from tests.flow.serve import find

HOUR_NS = 3600 * 10**9


class Paced(Stage[Any, Any]):
    """Another stage, with a pause before each response."""

    def __init__(self, stage: Stage[Any, Any], step_s: float) -> None:
        self._stage = stage
        self._step_s = step_s

    async def handle(self, requests: AsyncIterator[Any], call: Call) -> AsyncIterator[Any]:
        """What the other stage answers."""
        async for response in self._stage.handle(requests, call):
            call.check()
            await asyncio.sleep(self._step_s)
            yield response


def paced(service: Service, step_s: float) -> Service:
    """The service with pauses if it is a stage; the gateway and the batch worker as they are."""

    def build(settings: Any, runtime: Runtime) -> Any:
        built = service.build(settings, runtime)
        return Paced(built, step_s) if isinstance(built, Stage) else built

    return dataclasses.replace(service, build=build)


class JumpingClock:
    """The wall clock of this process, with what signals have added to it."""

    def __init__(self) -> None:
        self._time_ns = time.time_ns
        self._ahead_ns = 0
        signal.signal(signal.SIGUSR1, lambda *_: self._jump(HOUR_NS))
        signal.signal(signal.SIGUSR2, lambda *_: self._jump(-HOUR_NS))
        vars(time).update(time_ns=self._now_ns, time=lambda: self._now_ns() / 1e9)

    def _jump(self, by_ns: int) -> None:
        self._ahead_ns += by_ns

    def _now_ns(self) -> int:
        return self._time_ns() + self._ahead_ns


def tidy() -> None:
    """Free what nobody refers to, and give it back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


if __name__ == "__main__":
    JumpingClock()
    signal.signal(signal.SIGWINCH, lambda *_: tidy())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    services = [paced(service, float(sys.argv[2])) for service in find(sys.argv[1])]
    asyncio.run(serve(services, ServiceSettings(), lambda port: typer.echo(f"ready on {port}")))
