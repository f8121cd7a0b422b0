"""Our own engine: the model runner of the mini pack, its adapter live."""

from __future__ import annotations

import time

import torch

from anygpt.pack import open_pack
from services.llm.model.loading import BITS, RunnerOptions, load_packed, load_runner
from services.llm.pages import PAGE
from services.llm.settings import LlmSettings
from services.llm.step import Choice, Draw, Feed
from tests.bench.llm.contender import CONTEXT, PARAMETERS, POSITION, PREFILL, WRITTEN, prompt

DRAW = Draw(Choice((range(49_152),)), 0.0, 1.0, 0, 0.0, 1.0, 0, 0)
STREAMS = 16


class Ours:
    """The runner in one number format."""

    def __init__(self, dtype: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.name = f"ours {dtype}"
        pack, cache = open_pack("mini"), LlmSettings().cache.expanduser()
        pages = (STREAMS * CONTEXT + PREFILL) // PAGE + 1
        self._runner = load_runner(pack, RunnerOptions(cache, pages, PREFILL, dtype, "cpu", False, threads))
        packed = load_packed(pack, cache, BITS[dtype])
        assert packed
        self.weight_bytes = sum(
            tensor.nbytes for name, tensor in packed.tensors.items() if name != "embedding"
        )
        self.position_bytes, self.parameters = 2 * POSITION, PARAMETERS

    def decode(self, streams: int) -> float:
        """Seconds to write WRITTEN tokens in each of so many streams, their prompts read before."""
        first = CONTEXT - WRITTEN
        tables = [range(n * CONTEXT // PAGE, (n + 1) * CONTEXT // PAGE) for n in range(streams)]
        tokens = []
        for n, table in enumerate(tables):
            (fed,) = self._runner.step([Feed(table, 0, prompt(n, first), read=first, draw=DRAW)])
            tokens.append(fed.token)
        began = time.perf_counter()
        for place in range(first, first + WRITTEN):
            feeds = [
                Feed(table, place, [token or 0], draw=DRAW)
                for table, token in zip(tables, tokens, strict=True)
            ]
            tokens = [fed.token for fed in self._runner.step(feeds)]
        return time.perf_counter() - began

    def prefill(self) -> float:
        """Seconds to read PREFILL tokens."""
        began = time.perf_counter()
        pages = range(PREFILL // PAGE)
        self._runner.step([Feed(pages, 0, prompt(0, PREFILL), read=PREFILL, draw=DRAW)])
        return time.perf_counter() - began
