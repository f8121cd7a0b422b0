"""What decoders are sent in tests, and how their streams are gathered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anygpt.errors import RequestCancelled
from anygpt.stage import Call, Stage, now_ms
from anygpt.topology import MODALITY_NAMES, Modality
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from tests.unit.media_pack import HIDDEN, SIGNALS

Request = stages_pb2.DecodeRequest
Response = stages_pb2.DecodeResponse


def new_call(seconds: float = 60.0) -> Call:
    return Call("0" * 32, "team", now_ms() + round(seconds * 1000))


def signals(modality: Modality, drawn: int = 0, **more: Any) -> Request:
    shape = (SIGNALS[MODALITY_NAMES[modality]], HIDDEN)
    data = np.random.default_rng(drawn).normal(size=shape).astype(np.float16)
    tensor = types_pb2.Tensor(dtype="float16", shape=shape, data=data.tobytes())
    told = types_pb2.Signals(modality=modality, tensor=tensor)
    return Request(modality=modality, signals=told, is_last=True, **more)


def caption(modality: Modality, text: str = "a cat on a blue background", **more: Any) -> Request:
    return Request(modality=modality, caption=text, is_last=True, **more)


def codes(modality: Modality, ids: Sequence[int], **more: Any) -> Request:
    return Request(modality=modality, codes=types_pb2.Codes(modality=modality, ids=ids), is_last=True, **more)


@dataclass
class Decoded:
    """All responses of one span, sorted by kind."""

    progress: list[anygpt_service_pb2.Progress] = field(default_factory=list)
    chunks: list[anygpt_service_pb2.MediaChunk] = field(default_factory=list)
    media: stages_pb2.DecodedMedia = field(default_factory=stages_pb2.DecodedMedia)


async def sent(requests: Sequence[Request]) -> AsyncIterator[Request]:
    for request in requests:
        yield request


async def cancelled_after(count: int, stage: Stage[Request, Response], *requests: Request) -> list[Response]:
    """The responses until the errand, cancelled at the `count`th, fails; all of them if it never does."""
    call, seen = new_call(), list[Response]()
    try:
        async for response in stage.handle(sent(requests), call):
            seen.append(response)
            if len(seen) == count:
                call.cancel()
    except RequestCancelled:
        return seen
    raise AssertionError("the errand ran to its end")


async def decoded(stage: Stage[Request, Response], *requests: Request, call: Call | None = None) -> Decoded:
    result = Decoded()
    async for response in stage.handle(sent(requests), call or new_call()):
        if response.HasField("progress"):
            result.progress.append(response.progress)
        elif response.HasField("chunk"):
            result.chunks.append(response.chunk)
        else:
            result.media = response.media
    return result
