"""An engine in a process of its own, so that none shares another's threads."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from tests.bench.llm.contender import Contender

POLICY = "OMP_WAIT_POLICY"


class Apart:
    """A contender that `make` opens in another process; `wait`: what OpenMP's idle threads do there, spin if empty."""

    def __init__(self, make: Callable[[], Contender], wait: str = "") -> None:
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        kept = os.environ.pop(POLICY, None)
        if wait:
            os.environ[POLICY] = wait
        try:
            facts = self._process.submit(_open, make).result()
        finally:
            os.environ.pop(POLICY, None)
            if kept is not None:
                os.environ[POLICY] = kept
        self.name, self.weight_bytes, self.position_bytes, self.parameters = facts

    def decode(self, streams: int) -> float:
        """See Contender."""
        return self._process.submit(_time, "decode", streams).result()

    def decode_continuously(self, streams: int) -> float:
        """See Transformers."""
        return self._process.submit(_time, "decode_continuously", streams).result()

    def prefill(self) -> float:
        """See Contender."""
        return self._process.submit(_time, "prefill").result()


_OPENED: list[Contender] = []
"""The one of a process that holds nothing else."""


def _open(make: Callable[[], Contender]) -> tuple[str, int, int, int]:
    one = make()
    _OPENED.append(one)
    return one.name, one.weight_bytes, one.position_bytes, one.parameters


def _time(what: str, *streams: int) -> float:
    seconds: float = getattr(_OPENED[0], what)(*streams)
    return seconds
