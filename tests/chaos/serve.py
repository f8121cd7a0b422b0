"""One service of the plain system, in no hurry: `python -m tests.chaos.serve NAME STEP_S`; settings as for `anygpt`.

Every stage waits STEP_S before each of its responses, so that a fault finds work under way in every phase.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

from anygpt.main import Runtime, Service, serve
from anygpt.settings import ServiceSettings
from anygpt.stage import Call, Stage
from tests.flow.serve import find


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


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    services = [paced(service, float(sys.argv[2])) for service in find(sys.argv[1])]
    asyncio.run(serve(services, ServiceSettings(), lambda port: print(f"ready on {port}", flush=True)))
