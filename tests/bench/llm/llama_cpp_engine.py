"""llama.cpp by its own C interface: the GGUF file of the mini pack, or the same file in another format."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import llama_cpp
import numpy as np

from tests.bench.llm.contender import CONTEXT, PARAMETERS, POSITION, PREFILL, WRITTEN, prompt


@llama_cpp.llama_log_callback  # type: ignore[untyped-decorator]
def silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """llama.cpp reports every tensor otherwise."""


FORMATS = {
    "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0,
    "Q4_1": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_1,
    "Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0,
    "F16": llama_cpp.LLAMA_FTYPE_MOSTLY_F16,
}


def converted(source: Path, folder: Path, name: str) -> Path:
    """The model in one of FORMATS."""
    llama_cpp.llama_log_set(silent, ctypes.c_void_p(0))
    target = folder / f"{name}.gguf"
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype, options.allow_requantize = FORMATS[name], True
    failed = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(options))
    assert not failed
    return target


class LlamaCpp:
    """One file, one context for all streams. It wants a process of its own: it sets AMX up once a thread."""

    def __init__(self, name: str, file: Path, streams: int, threads: int, *, repacks: bool = True) -> None:
        self.name = f"llama.cpp {name}" + ("" if repacks else ", not repacked")
        self.weight_bytes = file.stat().st_size
        self.position_bytes, self.parameters = 2 * POSITION, PARAMETERS
        llama_cpp.llama_backend_init()
        about = llama_cpp.llama_model_default_params()
        about.use_extra_bufts = repacks
        self._model = llama_cpp.llama_model_load_from_file(str(file).encode(), about)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx = streams * CONTEXT + PREFILL
        options.n_seq_max = streams
        options.n_batch = options.n_ubatch = PREFILL
        options.n_threads = options.n_threads_batch = threads
        options.kv_unified = True
        assert self._model is not None
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        assert self._context is not None
        self._batch = llama_cpp.llama_batch_init(PREFILL, 0, 1)
        vocab = llama_cpp.llama_model_get_vocab(self._model)
        assert vocab is not None
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(vocab)

    def decode(self, streams: int) -> float:
        """Seconds to write WRITTEN tokens in each of so many streams, their prompts read before."""
        self._clear()
        first = CONTEXT - WRITTEN
        tokens = [
            self._step([(t, i, n) for i, t in enumerate(prompt(n, first))], 1)[0] for n in range(streams)
        ]
        began = time.perf_counter()
        for place in range(first, first + WRITTEN):
            tokens = self._step([(token, place, n) for n, token in enumerate(tokens)], streams)
        return time.perf_counter() - began

    def prefill(self) -> float:
        """Seconds to read PREFILL tokens."""
        self._clear()
        began = time.perf_counter()
        self._step([(token, place, 0) for place, token in enumerate(prompt(0, PREFILL))], 1)
        return time.perf_counter() - began

    def _clear(self) -> None:
        assert self._context is not None
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)

    def _step(self, rows: Sequence[tuple[int, int, int]], drawn: int) -> list[int]:
        """Feed (token, position, sequence) rows; the best ids after the last `drawn` of them."""
        batch = self._batch
        batch.n_tokens = len(rows)
        for index, (token, place, sequence) in enumerate(rows):
            batch.token[index], batch.pos[index] = token, place
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
            batch.logits[index] = index >= len(rows) - drawn
        assert self._context is not None
        assert llama_cpp.llama_decode(self._context, batch) == 0
        return [self._best(index) for index in range(len(rows) - drawn, len(rows))]

    def _best(self, index: int) -> int:
        assert self._context is not None
        row = llama_cpp.llama_get_logits_ith(self._context, index)
        return int(np.ctypeslib.as_array(row, (self._vocabulary,)).argmax())


def can_repack(file: Path) -> bool:
    """Whether its fastest kernels run here: built by GCC 12, those for AMX end the process (an illegal instruction)."""
    program = (
        "import sys; from pathlib import Path; from tests.bench.llm.llama_cpp_engine import LlamaCpp;"
        "LlamaCpp('any', Path(sys.argv[1]), 1, 2).prefill()"
    )
    command = [sys.executable, "-c", program, str(file)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
