"""Turns the tokens of an answer into responses: text in chunks, codes in pieces, signals whole, span by span."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from anygpt.topology import TEXT, Modality
from anygpt.v1 import stages_pb2, types_pb2
from services.llm.grammar import Rules
from services.llm.step import Vectors
from services.llm.tokeniser import TextStream, Tokeniser

TEXT_TOKENS = 8
TEXT_SECONDS = 0.04
FIRST_CODES = 8
NEXT_CODES = 16

Emit = Callable[[stages_pb2.GenerateTokensResponse], None]


class Answer:
    """The spans of one answer. Tokens come in order; a span of signals closes when its hidden states are there."""

    def __init__(
        self, rules: Rules, tokeniser: Tokeniser, stops: Sequence[str], emit: Emit, *, hears_text: bool
    ) -> None:
        self._rules = rules
        self._hears_text = hears_text
        self._announced: list[int] = []
        """Text before a span that the caller does not want to hear; an attempt that goes on needs it."""
        self._tokeniser = tokeniser
        self._stops = (*stops, *rules.stop_texts)
        self._emit = emit
        self._index = -1
        self._open: Modality | None = None
        self._ids: list[int] = []
        self._codes: list[int] = []
        self._codes_due = FIRST_CODES
        self._signals: list[Vectors] = []
        self._text: TextStream | None = None
        self._text_shown_at = 0.0

    def add_signals(self, vectors: Vectors) -> None:
        """Hidden states at signal positions, in order."""
        self._signals += list(vectors)

    def is_waiting(self, token: int) -> bool:
        """Whether `token` can not be shown before more signals have come."""
        if self._open is None or self._open == TEXT or self._rules.outputs[self._open].path != "signals":
            return False
        bare = self._open in self._rules.bare
        # The signal that closes a bare span has its own state to wait for, which comes when it has been fed.
        due = len(self._ids) + 1 if bare else len(self._ids) - 1
        return token == self._rules.end(self._open) and len(self._signals) < due

    def show(self, token: int, *, truncated: bool = False) -> bool:
        """Take the next token; returns whether a stop string ended the text with it."""
        if self._open is not None and self._open != TEXT:
            self._show_media(self._open, token, truncated)
            return False
        opened = self._rules.opened_by(token)
        if opened is None and not self._hears_text:
            self._announced.append(token)
            return False
        if opened is None:
            return self._show_text(token)
        self._close_text()
        self._open_span(opened, [token])
        return False

    def finish(self, *, truncated: bool) -> None:
        """The answer ends: what was held back is shown."""
        self._close_text(truncated=truncated)

    def _open_span(self, modality: Modality, ids: list[int]) -> None:
        self._index += 1
        self._open, self._ids = modality, ids
        self._codes, self._codes_due, self._signals = [], FIRST_CODES, []
        self._respond(span_opened=stages_pb2.SpanOpened(modality=modality))

    def _close_span(self, truncated: bool) -> None:
        ids = [*self._announced, *self._ids]
        self._respond(span_closed=stages_pb2.SpanClosed(truncated=truncated, ids=ids))
        self._open, self._ids, self._announced = None, [], []

    def _show_text(self, token: int) -> bool:
        if self._text is None:
            self._open_span(TEXT, [])
            self._text = self._tokeniser.stream(self._stops)
            self._text_shown_at = 0.0
        stopped = self._text.add(token)
        now = time.monotonic()
        if self._text.pending >= TEXT_TOKENS or now - self._text_shown_at >= TEXT_SECONDS:
            self._show_chunk(*self._text.take())
        return stopped

    def _show_chunk(self, text: str, ids: list[int]) -> None:
        if text or ids:
            self._ids += ids
            self._text_shown_at = time.monotonic()
            self._respond(text=stages_pb2.TextChunk(text=text, ids=ids))

    def _close_text(self, *, truncated: bool = False) -> None:
        if self._text is not None:
            self._show_chunk(*self._text.take(last=True))
            self._text = None
            self._close_span(truncated)

    def _show_media(self, modality: Modality, token: int, truncated: bool) -> None:
        self._ids.append(token)
        closes = token == self._rules.end(modality)
        if self._rules.outputs[modality].path == "codes":
            if token in self._rules.vocabulary.codes[modality].ids:
                self._codes.append(token)
            self._show_codes(modality, closes)
        elif closes:
            self._respond(
                signals=types_pb2.Signals(modality=modality, tensor=to_tensor(np.stack(self._signals)))
            )
        if closes:
            self._close_span(truncated)

    def _show_codes(self, modality: Modality, closes: bool) -> None:
        streams = self._rules.outputs[modality].streams
        cycle = self._rules.vocabulary.codes[modality].cycle
        due = streams and len(self._codes) >= self._codes_due and len(self._codes) % cycle == 0
        if self._codes and (closes or due):
            codes = self._rules.vocabulary.to_codes(modality, self._codes)
            self._codes, self._codes_due = [], NEXT_CODES
            self._respond(codes=types_pb2.Codes(modality=modality, ids=codes))

    def _respond(
        self,
        text: stages_pb2.TextChunk | None = None,
        span_opened: stages_pb2.SpanOpened | None = None,
        codes: types_pb2.Codes | None = None,
        signals: types_pb2.Signals | None = None,
        span_closed: stages_pb2.SpanClosed | None = None,
    ) -> None:
        response = stages_pb2.GenerateTokensResponse(
            span_index=self._index, text=text, span_opened=span_opened, codes=codes, signals=signals,
            span_closed=span_closed,
        )  # fmt: skip
        self._emit(response)


def to_tensor(vectors: Vectors) -> types_pb2.Tensor:
    """Numbers as they travel: little-endian float32."""
    return types_pb2.Tensor(dtype="float32", shape=vectors.shape, data=vectors.astype("<f4").tobytes())
