"""transformers in one dtype: a static batch, and its own continuous batching."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from tests.bench.llm.contender import CONTEXT, PARAMETERS, POSITION, PREFILL, WRITTEN, prompt


class Transformers:
    """`generate` with a static batch, and `generate_batch`."""

    def __init__(self, file: Path, dtype: torch.dtype, threads: int) -> None:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        torch.set_num_threads(threads)
        self.name = f"transformers {str(dtype).removeprefix('torch.')}"
        self._model: Any = AutoModelForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, dtype=dtype, local_files_only=True
        )
        self.weight_bytes = sum(p.numel() * p.element_size() for p in self._model.parameters())
        self.position_bytes, self.parameters = dtype.itemsize * POSITION, PARAMETERS

    @torch.inference_mode()
    def decode(self, streams: int) -> float:
        """Seconds to write WRITTEN tokens in each of so many streams, their prompts read before."""
        ids = torch.tensor([prompt(n, CONTEXT - WRITTEN) for n in range(streams)])
        times: list[float] = []

        def note(_: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
            times.append(time.perf_counter())
            return scores

        self._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=WRITTEN + 1, min_new_tokens=WRITTEN + 1,
            do_sample=False, logits_processor=[note],
        )  # fmt: skip
        return times[-1] - times[0]

    @torch.inference_mode()
    def prefill(self) -> float:
        """Seconds to read PREFILL tokens."""
        began = time.perf_counter()
        self._model(torch.tensor([prompt(0, PREFILL)]), logits_to_keep=1)
        return time.perf_counter() - began

    @torch.inference_mode()
    def decode_continuously(self, streams: int) -> float:
        """Seconds that its continuous batching takes for the same; the time of the prompts is taken off."""
        return self._continue(streams, WRITTEN + 1) - self._continue(streams, 1)

    def _continue(self, streams: int, tokens: int) -> float:
        from transformers import GenerationConfig

        config = GenerationConfig(max_new_tokens=tokens, do_sample=False, eos_token_id=-1)
        began = time.perf_counter()
        answers = self._model.generate_batch(
            [prompt(n, CONTEXT - WRITTEN) for n in range(streams)], generation_config=config, warmup=False
        )
        assert len(answers) == streams
        return time.perf_counter() - began
