"""One request in the engine: its positions, how many of them were fed, and the answer that grows from it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anygpt.errors import InvalidInput
from anygpt.stage import Call
from anygpt.topology import TEXT, Modality
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from services.llm.answer import Answer
from services.llm.grammar import Grammar, Rules
from services.llm.pages import Table
from services.llm.prompt import Prompt
from services.llm.sampling import SpanSampling
from services.llm.step import Draw, Fed, Feed
from services.llm.tokeniser import Tokeniser


@dataclass(frozen=True, slots=True)
class Order:
    """A checked request: nothing in it can fail any more."""

    prompt: Prompt
    want: tuple[Modality, ...]
    sampling: Mapping[Modality, SpanSampling]
    seed: int
    forced_ids: Sequence[int] = ()
    closed: frozenset[Modality] = frozenset()
    """Modalities that the answer must not have."""
    adapter: str = ""
    is_exact: bool = False
    """Whether a later prompt that repeats the answer reads it anew: the last bits of what is read and of what was
    written may differ."""


WRITTEN = 1 << 40
"""Added to the id of a written position, a prompt does not find it in the cache."""


@dataclass(slots=True)
class Times:
    """When a sequence passed each gate, in seconds of the monotonic clock; 0: not yet."""

    submitted: float = field(default_factory=time.monotonic)
    admitted: float = 0.0
    first_token: float = 0.0


class Generation:
    """An order under way. The scheduler gives it pages, the engine feeds it, `outputs` has what the caller gets."""

    def __init__(self, order: Order, call: Call, rules: Rules, tokeniser: Tokeniser, context: int) -> None:
        self.order = order
        self.call = call
        self.table = Table()
        self.fed = 0
        self.cached = 0
        """Positions of the prompt that were found in the cache."""
        self._seen = 0
        """Positions that have been fed at some time, before a preemption too."""
        self.outputs: asyncio.Queue[stages_pb2.GenerateTokensResponse | Exception | None] = asyncio.Queue()
        self.keys = list(order.prompt.keys)
        self.cache_keys = list(self.keys) if order.is_exact else self.keys
        """What the cache knows the positions by."""
        self.times = Times()
        self.is_abandoned = False
        """Whether nobody reads the answer any more."""
        self._rules = rules
        self._signal_ids = {
            t for m, r in rules.vocabulary.signals.items() if m in rules.outputs for t in r.ids
        }
        budgets = {
            modality: 0 if modality in order.closed else sampling.max_tokens
            for modality, sampling in order.sampling.items()
        }
        self._grammar = Grammar(rules, order.want, budgets, context - len(self.keys))
        stops = order.sampling[TEXT].stop if TEXT in order.sampling else ()
        self._answer = Answer(rules, tokeniser, stops, self._emit, hears_text=self._grammar.hears_text)
        self._unseen: deque[tuple[int, bool]] = deque()
        """Answer tokens that were not shown, each with whether it closes a truncated span."""
        self._replay()

    @property
    def is_done(self) -> bool:
        """Whether all of the answer was shown."""
        return self._grammar.is_done and not self._unseen

    @property
    def pending(self) -> int:
        """Positions that were not fed."""
        return len(self.keys) - self.fed

    @property
    def reusable(self) -> list[int]:
        """The positions that need no feeding where the cache has them: none whose signals are due, not the last one."""
        return self.cache_keys[: min(max(len(self.order.prompt.keys), self._seen), len(self.keys) - 1)]

    @property
    def answered(self) -> int:
        """Tokens of the answer."""
        return len(self.keys) - len(self.order.prompt.keys)

    def sit(self, table: Table, known: int) -> None:
        """Take pages whose first `known` positions are this sequence's already."""
        self.table, self.fed = table, known
        if not self._seen:
            self.cached = known

    def leave(self) -> None:
        """Give the pages up; what was fed has to be fed again, or found."""
        self.table, self.fed = Table(), 0

    def feed(self, most: int) -> Feed:
        """The next positions, at most `most`."""
        stop = min(len(self.keys), self.fed + most)
        ids = self.keys[self.fed : stop]
        first = len(self.order.prompt.keys)
        vectors = {
            place - self.fed: self.order.prompt.vectors[place]
            for place in range(self.fed, min(stop, first))
            if self.keys[place] < 0
        }
        due = max(first, self._seen)
        signals = [i for i, key in enumerate(ids) if self.fed + i >= due and key in self._signal_ids]
        draw = self._draw() if stop == len(self.keys) and not self._grammar.is_done else None
        table = self.table
        read = max(0, min(stop, first) - self.fed)
        return Feed(
            table.numbers, self.fed, ids, read, vectors, signals, draw, table.copy, self.order.adapter
        )

    def take(self, feed: Feed, fed: Fed) -> None:
        """Take in what came of a feed: the answer grows, and is shown."""
        self.fed += len(feed.ids)
        self._seen = max(self._seen, self.fed)
        if fed.signals is not None:
            self._answer.add_signals(fed.signals)
        if fed.token is not None:
            self.times.first_token = self.times.first_token or time.monotonic()
            self._accept(self._grammar.resolve(fed.token))
        self._show()

    def usage(self) -> types_pb2.Usage:
        """What was used up to now."""
        now, times = time.monotonic(), self.times
        admitted, first = times.admitted or now, times.first_token or now
        return types_pb2.Usage(
            prompt_tokens=len(self.order.prompt.keys),
            cached_tokens=self.cached,
            generated_tokens=self.answered,
            queue_ms=round(1000 * (admitted - times.submitted)),
            prefill_ms=round(1000 * (first - admitted)),
            decode_ms=round(1000 * (now - first)),
        )

    def finish(self) -> None:
        """Say how it ended; nothing comes after it."""
        whole = self._grammar.is_complete
        self._answer.finish(truncated=not whole)
        reason = (
            anygpt_service_pb2.FINISH_REASON_COMPLETE if whole else anygpt_service_pb2.FINISH_REASON_TRUNCATED
        )
        finished = stages_pb2.GenerationFinished(reason=reason, usage=self.usage())
        self._emit(stages_pb2.GenerateTokensResponse(finished=finished))
        self.outputs.put_nowait(None)

    def fail(self, error: Exception) -> None:
        """Tell the caller why nothing more comes."""
        self.outputs.put_nowait(error)

    def _replay(self) -> None:
        """Take the ids that an earlier attempt published, then what the grammar forces."""
        for index, token in enumerate(self.order.forced_ids):
            if len(self._unseen) <= index:
                if self._grammar.is_done or token not in self._grammar.choice():
                    raise InvalidInput(
                        "the id can not stand here", reason="FORCED_IDS", field=f"forced_ids[{index}]"
                    )
                self._accept(token)
            elif self._unseen[index][0] != token:
                raise InvalidInput(
                    "the id can not stand here", reason="FORCED_IDS", field=f"forced_ids[{index}]"
                )
        if not self.order.forced_ids:
            self._follow()
        self._show()

    def _draw(self) -> Draw:
        sampling = self.order.sampling[self._grammar.open or TEXT]
        is_announcement = self._grammar.open is None and not self._grammar.hears_text
        temperature = 0.0 if is_announcement else sampling.temperature
        seen = [key for key in self.keys if key >= 0] if sampling.repetition_penalty != 1 else ()
        return Draw(
            self._grammar.choice(), temperature, sampling.top_p, sampling.top_k, sampling.min_p,
            sampling.repetition_penalty, self.order.seed, self.answered, seen,
        )  # fmt: skip

    def _accept(self, token: int) -> None:
        self._advance(token)
        self._follow()

    def _follow(self) -> None:
        """Take all tokens that leave no choice."""
        while not self._grammar.is_done and (token := self._grammar.choice().only) is not None:
            self._advance(token)

    def _advance(self, token: int) -> None:
        was_open = self._grammar.open
        self._grammar.advance(token)
        if self._grammar.is_done and was_open is None and token in self._rules.stops:
            return
        self.keys.append(token)
        if self.order.is_exact:
            self.cache_keys.append(token + WRITTEN)
        closes = was_open is not None and self._grammar.open is None
        self._unseen.append((token, closes and self._grammar.truncated))

    def _show(self) -> None:
        while self._unseen and not self._answer.is_waiting(self._unseen[0][0]):
            token, truncated = self._unseen.popleft()
            stopped = self._answer.show(token, truncated=truncated)
            if stopped and not self._unseen:
                self._stop()

    def _stop(self) -> None:
        """A stop string ended the text."""
        token = self._grammar.end_text()
        if token is not None:
            self._accept(token)

    def _emit(self, response: stages_pb2.GenerateTokensResponse) -> None:
        self.outputs.put_nowait(response)
