"""One span as a decoder receives it: chunks in order, of one kind, nothing taken on trust."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from anygpt.errors import InvalidInput, TooLarge
from anygpt.pack import Pack
from anygpt.topology import MODALITY_NAMES, Modality
from anygpt.v1 import stages_pb2, types_pb2
from anygpt_models.serving.tensors import to_array

Request: TypeAlias = stages_pb2.DecodeRequest

MOST_CODES: Final = 8192
MOST_CAPTION: Final = 2000
"""Characters."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a whole span holds: exactly one of the three."""

    codes: tuple[int, ...] = ()
    signals: NDArray[np.float32] | None = None
    caption: str = ""


class Span:
    """Reads the chunks of one span and checks each against the pack."""

    def __init__(self, first: Request, rest: AsyncIterator[Request], modality: Modality, pack: Pack) -> None:
        self.first = first
        self._rest = rest
        self._modality = modality
        self._pack = pack
        self._kind = first.WhichOneof("input")
        self._count = 0

    async def contents(self) -> AsyncIterator[Content]:
        """What each chunk holds, up to the last. Raises InvalidInput for a gap, a mixture or a missing end."""
        chunk, place = self.first, 0
        while True:
            self._check(chunk, place)
            yield self._content(chunk)
            if chunk.is_last:
                return
            following = await anext(self._rest, None)
            if following is None:
                raise InvalidInput("the span has no last chunk", reason="SPAN_INCOMPLETE", field="is_last")
            chunk, place = following, place + 1

    async def whole(self) -> Content:
        """The content of all chunks together. Raises InvalidInput for an empty one."""
        codes: tuple[int, ...] = ()
        found = Content()
        async for content in self.contents():
            codes += content.codes
            if content.signals is not None or content.caption:
                if found != Content():
                    raise InvalidInput("signals and captions come in one chunk", field=self._kind or "input")
                found = content
        if codes:
            return Content(codes=codes)
        if found.signals is None and not found.caption:
            raise InvalidInput("the span is empty", reason="SPAN_EMPTY", field=self._kind or "input")
        return found

    def _check(self, chunk: Request, place: int) -> None:
        if chunk.modality not in (types_pb2.MODALITY_UNSPECIFIED, self._modality):
            raise InvalidInput("this decoder is for another modality", field="modality")
        if chunk.chunk_index != place:
            raise InvalidInput(f"chunk {place} is missing", reason="CHUNK_GAP", field="chunk_index")
        if chunk.span_index != self.first.span_index:
            raise InvalidInput("the chunks are of two spans", field="span_index")
        if chunk.WhichOneof("input") not in (self._kind, None):
            raise InvalidInput("the chunks of a span are of one kind", field=self._kind or "input")
        self._pack.vocabulary.check_digest(chunk.vocabulary_digest)

    def _content(self, chunk: Request) -> Content:
        if chunk.HasField("signals"):
            return Content(signals=self._signals(chunk.signals))
        if len(chunk.caption) > MOST_CAPTION:
            raise TooLarge(f"a caption has at most {MOST_CAPTION} characters", field="caption")
        self._count += len(chunk.codes.ids)
        entry = self._pack.outputs[self._modality]
        if self._count > (entry.max_count if entry.path == "codes" and entry.max_count else MOST_CODES):
            raise TooLarge("the span has too many codes", field="codes.ids")
        if chunk.codes.modality not in (types_pb2.MODALITY_UNSPECIFIED, self._modality):
            raise InvalidInput("the codes are of another modality", field="codes.modality")
        return Content(codes=tuple(chunk.codes.ids), caption=chunk.caption.strip())

    def _signals(self, signals: types_pb2.Signals) -> NDArray[np.float32]:
        place = self._pack.vocabulary.signals.get(self._modality)
        if place is None:
            raise InvalidInput(f"{MODALITY_NAMES[self._modality]} has no signals here", field="signals")
        if signals.modality not in (types_pb2.MODALITY_UNSPECIFIED, self._modality):
            raise InvalidInput("the signals are of another modality", field="signals.modality")
        shape = (place.count, self._pack.manifest.base_model.hidden_size)
        return to_array(signals.tensor, shape, "signals.tensor")


async def open_span(requests: AsyncIterator[Request], modality: Modality, pack: Pack) -> Span:
    """The span whose first chunk comes first. Raises InvalidInput when there is none."""
    first = await anext(requests, None)
    if first is None:
        raise InvalidInput("there is no span in the request", reason="SPAN_EMPTY", field="input")
    return Span(first, requests, modality, pack)


@dataclass(frozen=True, slots=True)
class CodeSpace:
    """The codes that a codec takes: each below `size`; exactly `length`, or `least` to so many in whole steps."""

    size: int
    length: int = 0
    step: int = 0
    least: int = 1

    def whole(self, codes: tuple[int, ...]) -> tuple[int, ...]:
        """The codes, without a last step that is not whole. Raises InvalidInput for others."""
        if any(code >= self.size for code in codes):
            raise InvalidInput(
                "a code lies outside its codebook", reason="CODE_OUT_OF_RANGE", field="codes.ids"
            )
        kept = codes[: len(codes) - len(codes) % self.step] if self.step else codes
        if self.length and not (
            len(kept) == self.length or (self.step and self.least <= len(kept) <= self.length)
        ):
            count = f"{self.least} to {self.length}" if self.step else self.length
            raise InvalidInput(f"a span has {count} codes", reason="SHAPE", field="codes.ids")
        return kept
