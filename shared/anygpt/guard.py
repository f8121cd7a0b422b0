"""The guard: an operator's own judgement over content on its way in and out, found by entry point.

A package that brings one names a factory under `anygpt.guards`; `ANYGPT_GUARD__NAME` chooses it. None chosen: all
content passes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, cast

from anygpt.errors import ContentRefused, InvalidInput
from anygpt.metrics import CONTENT_REFUSALS
from anygpt.settings import GuardSettings
from anygpt.stage import Call, In, Out, Stage
from anygpt.topology import TEXT, Modality
from anygpt.v1 import stages_pb2, types_pb2

ENTRY_POINTS = "anygpt.guards"


@dataclass(frozen=True, slots=True)
class Content:
    """One piece of what a user says or is told: text, or media as a file."""

    modality: Modality
    text: str = ""
    """All of a span up to now, while it grows."""
    media: bytes | Path = b""
    media_type: str = ""


class Guard(Protocol):
    """Looks at content; raises ContentRefused for what may not pass, with a message that quotes nothing of it."""

    async def incoming(self, content: Content, tenant: str) -> None:
        """Each text and each file of a message, each upload; before the request is accepted."""
        ...

    async def outgoing(self, content: Content, tenant: str) -> None:
        """Each text as it grows, each playable piece and each file; before anybody sees it."""
        ...


Factory: TypeAlias = Callable[[GuardSettings], Guard]


class AllowAll:
    """Lets everything pass."""

    async def incoming(self, content: Content, tenant: str) -> None:
        """See Guard."""

    async def outgoing(self, content: Content, tenant: str) -> None:
        """See Guard."""


def open_guard(settings: GuardSettings) -> Guard:
    """The guard that the settings name. Raises InvalidInput when it is not installed."""
    if not settings.name:
        return AllowAll()
    for point in entry_points(group=ENTRY_POINTS, name=settings.name):
        factory: Factory = point.load()
        return factory(settings)
    raise InvalidInput(f"no guard {settings.name!r} is installed", field="guard.name")


async def check_incoming(guard: Guard, content: Content, tenant: str, field: str) -> None:
    """Ask the guard, count a refusal, and name the field. Raises ContentRefused."""
    try:
        await guard.incoming(content, tenant)
    except ContentRefused as error:
        CONTENT_REFUSALS.labels("in").inc()
        raise ContentRefused(error.message, reason=error.reason, field=field) from None


class GuardedStage(Stage[In, Out], Generic[In, Out]):
    """A stage whose every response passes the guard first; a refusal ends its span as any failure does."""

    def __init__(self, stage: Stage[In, Out], guard: Guard) -> None:
        self.name = stage.name
        self._stage = stage
        self._guard = guard

    async def open(self) -> None:
        """See Stage."""
        await self._stage.open()

    async def probe(self) -> None:
        """See Stage."""
        await self._stage.probe()

    async def ended(self) -> None:
        """See Stage."""
        await self._stage.ended()

    async def close(self) -> None:
        """See Stage."""
        await self._stage.close()

    async def handle(self, requests: AsyncIterator[In], call: Call) -> AsyncIterator[Out]:
        """See Stage."""
        said: defaultdict[int, str] = defaultdict(str)
        async with aclosing(cast("AsyncGenerator[Out]", self._stage.handle(requests, call))) as responses:
            async for response in responses:
                if isinstance(response, stages_pb2.GenerateTokensResponse) and response.HasField("text"):
                    said[response.span_index] += response.text.text
                    await self._check(Content(TEXT, said[response.span_index]), call)
                elif isinstance(response, stages_pb2.DecodeResponse):
                    await self._check_decoded(response, call)
                yield response

    async def _check_decoded(self, response: stages_pb2.DecodeResponse, call: Call) -> None:
        if response.HasField("media"):
            facts = response.media.ready.media
            content = Content(facts.modality, media=response.media.data, media_type=facts.media_type)
            await self._check(content, call)
        elif response.HasField("chunk"):
            chunk = response.chunk
            await self._check(
                Content(types_pb2.MODALITY_UNSPECIFIED, media=chunk.data, media_type=chunk.media_type), call
            )

    async def _check(self, content: Content, call: Call) -> None:
        try:
            await self._guard.outgoing(content, call.tenant)
        except ContentRefused:
            CONTENT_REFUSALS.labels("out").inc()
            raise
