"""Asking a generator in tests: requests from a few words, answers taken apart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from anygpt.lane import Lane
from anygpt.pack import open_pack
from anygpt.stage import Call, now_ms
from anygpt.topology import MODALITIES, Modality
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from services.llm.settings import LlmSettings
from services.llm.stage import LlmStage
from services.llm.step import Vectors

TRUNCATED = anygpt_service_pb2.FINISH_REASON_TRUNCATED


@asynccontextmanager
async def opened(pack: Path, **settings: Any) -> AsyncIterator[LlmStage]:
    """A small generator that is ready."""
    values = {"cache": pack.parent / "cache", "dtype": "fp32", "slots": 4, "step_rows": 32, "threads": 1}
    async with opened_pack(str(pack), **values | settings) as stage:
        yield stage


@asynccontextmanager
async def opened_pack(name: str, **settings: Any) -> AsyncIterator[LlmStage]:
    """A generator with a pack by name or path, its settings as they are by default."""
    lane = Lane("test")
    stage = LlmStage(open_pack(name), lane, LlmSettings(**settings))
    await stage.open()
    try:
        yield stage
    finally:
        await stage.close()
        lane.close()


@dataclass
class Span:
    """One span of an answer."""

    modality: Modality
    text: str = ""
    chunk_ids: list[int] = field(default_factory=list)
    codes: list[list[int]] = field(default_factory=list)
    signals: Vectors | None = None
    ids: list[int] = field(default_factory=list)
    truncated: bool = False
    is_closed: bool = False


@dataclass
class Reply:
    """A whole answer."""

    spans: list[Span]
    chunks: list[str]
    reason: int
    usage: types_pb2.Usage

    @property
    def ids(self) -> list[int]:
        """All tokens in order."""
        return [token for span in self.spans for token in span.ids]

    @property
    def text(self) -> str:
        """All text in order."""
        return "".join(span.text for span in self.spans)

    @property
    def signals(self) -> bytes:
        """All signals in order, to the bit."""
        return b"".join(span.signals.tobytes() for span in self.spans if span.signals is not None)


def call(**values: Any) -> Call:
    """An errand with a minute's time."""
    given: dict[str, Any] = {"request_id": "r", "tenant": "t", "deadline_ms": now_ms() + 60_000} | values
    return Call(**given)


def request(text: str = "hello", **values: Any) -> stages_pb2.GenerateTokensRequest:
    """A request of one text segment, or of `prompt`."""
    values.setdefault("prompt", [stages_pb2.PromptSegment(text=text)])
    values["want"] = [MODALITIES[name] for name in values.get("want", ())]
    sampling = values.pop("sampling", {})
    values["sampling"] = [
        types_pb2.ModalitySampling(modality=MODALITIES[name], sampling=types_pb2.Sampling(**given))
        for name, given in sampling.items()
    ]
    return stages_pb2.GenerateTokensRequest(**values)


async def stream(
    stage: LlmStage, one: stages_pb2.GenerateTokensRequest, errand: Call | None = None
) -> AsyncIterator[stages_pb2.GenerateTokensResponse]:
    """The responses to one request."""

    async def requests() -> AsyncIterator[stages_pb2.GenerateTokensRequest]:
        yield one

    async for response in stage.handle(requests(), errand or call()):
        yield response


async def ask(stage: LlmStage, one: stages_pb2.GenerateTokensRequest, errand: Call | None = None) -> Reply:
    """The answer to one request."""
    return read([response async for response in stream(stage, one, errand)])


def read(responses: Sequence[stages_pb2.GenerateTokensResponse]) -> Reply:
    """Take an answer apart; asserts that its spans open, close and follow each other in order."""
    spans: list[Span] = []
    chunks: list[str] = []
    for response in responses[:-1]:
        kind = response.WhichOneof("output")
        if kind == "span_opened":
            assert not spans or spans[-1].is_closed
            spans.append(Span(response.span_opened.modality))
        span = spans[-1]
        assert response.span_index == len(spans) - 1
        assert not span.is_closed
        if kind == "text":
            span.text += response.text.text
            span.chunk_ids += response.text.ids
            chunks.append(response.text.text)
        elif kind == "codes":
            span.codes.append(list(response.codes.ids))
        elif kind == "signals":
            tensor = response.signals.tensor
            span.signals = np.frombuffer(tensor.data, np.float32).reshape(tuple(tensor.shape))
        elif kind == "span_closed":
            span.ids, span.truncated, span.is_closed = (
                list(response.span_closed.ids),
                response.span_closed.truncated,
                True,
            )
    assert all(span.is_closed for span in spans)
    finished = responses[-1].finished
    return Reply(spans, chunks, finished.reason, finished.usage)
