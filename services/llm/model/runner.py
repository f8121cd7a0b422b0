"""Runs one step of many sequences: embeds what is fed, runs the network, draws the next tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch

from anygpt.errors import Exhausted
from anygpt.topology import Modality
from services.llm.model.sampler import Sampler
from services.llm.step import Choice, Draw, Fed, Feed, Vectors

Projection = Callable[[torch.Tensor], torch.Tensor]


class Network(Protocol):
    """A language model with its cache."""

    @property
    def shapes(self) -> Sequence[int]:
        """Row counts of a step that have to be run once before they are fast."""
        ...

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Input embeddings [N, hidden]."""
        ...

    def forward(self, embeddings: torch.Tensor, feeds: Sequence[Feed]) -> torch.Tensor:
        """Final-norm hidden states [N, hidden] of all positions that are fed."""
        ...

    def logits(self, hidden: torch.Tensor, choices: Sequence[Choice]) -> torch.Tensor:
        """Float32 logits [n, vocabulary], right at least where a choice has an id."""
        ...


class Runner:
    """The network and the input projections of one pack. Its methods run on one thread."""

    def __init__(
        self, network: Network, projections: Mapping[Modality, Projection], device: torch.device
    ) -> None:
        self._network = network
        self._projections = projections
        self._device = device
        self._sampler = Sampler(device)

    def project(self, modality: Modality, features: Vectors) -> Vectors:
        """An encoder's features [n, width] to embeddings [m, hidden]. Raises Exhausted when memory runs out."""
        with _memory_errors(), torch.inference_mode():
            out = self._projections[modality](torch.from_numpy(features).to(self._device).unsqueeze(0))
            vectors: Vectors = out[0].float().cpu().numpy()
            return vectors

    def step(self, feeds: Sequence[Feed]) -> list[Fed]:
        """Feed rows, draw tokens. Raises Exhausted when memory runs out; the step may then be tried with less."""
        with _memory_errors(), torch.inference_mode():
            return self._step(feeds)

    def warm_up(self) -> None:
        """Run every shape of a step once, so that no request pays for a first time."""
        draw = Draw(Choice((range(2),)), 0.0, 1.0, 0, 0.0, 1.0, 0, 0)
        for count in self._network.shapes:
            self.step([Feed([0] * count, 0, [0] * count, draw=draw)])

    def _step(self, feeds: Sequence[Feed]) -> list[Fed]:
        embeddings = self._embed(feeds)
        hidden = self._network.forward(embeddings, feeds)
        starts = [0]
        for feed in feeds:
            starts.append(starts[-1] + len(feed.ids))
        tokens = self._draw(hidden, feeds, [start - 1 for start in starts[1:]])
        return [
            Fed(token, self._signals(hidden, embeddings, feed, start))
            for feed, token, start in zip(feeds, tokens, starts, strict=False)
        ]

    def _embed(self, feeds: Sequence[Feed]) -> torch.Tensor:
        x = self._network.embed([max(token, 0) for feed in feeds for token in feed.ids])
        first = 0
        for feed in feeds:
            for offset, vector in feed.vectors.items():
                x[first + offset] = torch.from_numpy(vector).to(x)
            first += len(feed.ids)
        return x

    def _draw(self, hidden: torch.Tensor, feeds: Sequence[Feed], ends: Sequence[int]) -> list[int | None]:
        draws = [(feed.draw, end) for feed, end in zip(feeds, ends, strict=True) if feed.draw]
        if not draws:
            return [None] * len(feeds)
        rows = hidden[torch.tensor([end for _, end in draws], device=self._device)]
        logits = iter(self._network.logits(rows, [draw.choice for draw, _ in draws]))
        return [self._sampler.draw(next(logits), feed.draw) if feed.draw else None for feed in feeds]

    def _signals(
        self, hidden: torch.Tensor, embeddings: torch.Tensor, feed: Feed, start: int
    ) -> Vectors | None:
        """Hidden state plus input embedding at the wanted positions (NExT-GPT)."""
        if not feed.signals:
            return None
        rows = torch.tensor([start + offset for offset in feed.signals], device=self._device)
        vectors: Vectors = (hidden[rows].float() + embeddings[rows].float()).cpu().numpy()
        return vectors


@contextmanager
def _memory_errors() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        # On a CPU torch has no class of its own for it.
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "DefaultCPUAllocator" not in str(
            error
        ):
            raise
        raise Exhausted("the model's memory is full", reason="MEMORY", retry_after_ms=1000) from error
