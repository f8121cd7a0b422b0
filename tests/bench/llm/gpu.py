"""A model of 7 B parameters, random, in bfloat16: one stream to many, beside the memory's limit and transformers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from services.llm.model.eager import Eager, Options
from services.llm.model.runner import Runner
from services.llm.model.weights import Sizes, Weights
from services.llm.pages import PAGE
from services.llm.step import Choice, Draw, Feed
from tests.bench.llm.contender import CONTEXT, WRITTEN
from tests.bench.llm.machine import read_bandwidth
from tests.bench.row import Row


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's sizes, and how many streams are tried."""

    sizes: Sizes
    inner: int
    vocabulary: int
    streams: tuple[int, ...]


def _sizes(hidden: int, layers: int, heads: int, kv_heads: int) -> Sizes:
    return Sizes(hidden, layers, heads, kv_heads, hidden // heads, CONTEXT, 1e-5, 1.0)


LARGE = Shape(_sizes(4096, 32, 32, 32), 11_008, 32_000, (1, 4, 16, 64, 256))
TINY = Shape(_sizes(64, 2, 4, 2), 96, 300, (1, 4, 16))


def measure(repeats: int, *, rehearse: bool) -> list[Row]:
    """Tokens a second by number of streams; the tiny model on the CPU only shows that it runs."""
    device, shape = ("cpu", TINY) if rehearse else ("cuda", LARGE)
    bandwidth = Row("gpu: memory read", [read_bandwidth(device) for _ in range(repeats)], "GB/s")
    weights = random_weights(shape, torch.device(device))
    ours = _Ours(shape, weights, torch.device(device))
    figures = _figures("ours", ours.decode, shape, repeats)
    read = sum(tensor.nbytes for name, tensor in weights.tensors.items() if name != "embedding")
    shares = [100 * speed * read / bandwidth.median / 1e9 for speed in figures[1].values]
    del ours, weights
    theirs = _figures("transformers", _Transformers(shape, device).decode, shape, repeats)
    ratios = [
        Row(f"gpu: decode {n}, ours / transformers",
            [mine / other for mine, other in zip(figures[n].values, theirs[n].values, strict=True)], "x")
        for n in shape.streams
    ]  # fmt: skip
    limit = Row("gpu: decode 1, of the memory's limit, ours", shares, "%", ">= 80 %")
    return [bandwidth, *figures.values(), *theirs.values(), *ratios, limit]


def _figures(name: str, decode: Any, shape: Shape, repeats: int) -> Mapping[int, Row]:
    rows = {}
    for streams in shape.streams:
        decode(streams)
        speeds = [streams * WRITTEN / decode(streams) for _ in range(repeats)]
        rows[streams] = Row(f"gpu: decode {streams}, {name}", speeds, "tok/s")
    return rows


def random_weights(shape: Shape, device: torch.device) -> Weights:
    """Small random numbers in the layout of `llama.py`."""
    sizes, keys = shape.sizes, shape.sizes.kv_heads * shape.sizes.head_width

    def some(*size: int) -> torch.Tensor:
        return torch.randn(size, dtype=torch.bfloat16, device=device).mul_(0.02)

    tensors = {
        "embedding": some(shape.vocabulary, sizes.hidden),
        "head": some(shape.vocabulary, sizes.hidden),
    }
    tensors["norm"] = torch.ones(sizes.hidden, dtype=torch.bfloat16, device=device)
    tensors["frequencies"] = 10_000 ** -(torch.arange(0, sizes.head_width, 2) / sizes.head_width)
    for index in range(sizes.layers):
        prefix = f"layers.{index}."
        tensors[f"{prefix}before_attention"] = tensors[f"{prefix}before_mlp"] = tensors["norm"]
        tensors[f"{prefix}qkv"] = some(sizes.hidden + 2 * keys, sizes.hidden)
        tensors[f"{prefix}o"] = some(sizes.hidden, sizes.hidden)
        tensors[f"{prefix}gate_up"] = some(2 * shape.inner, sizes.hidden)
        tensors[f"{prefix}down"] = some(sizes.hidden, shape.inner)
    return Weights(sizes, tensors)


class _Ours:
    def __init__(self, shape: Shape, weights: Weights, device: torch.device) -> None:
        most = max(shape.streams)
        options = Options(most * CONTEXT // PAGE, most, torch.bfloat16, device, False)
        self._runner = Runner(Eager(weights, {}, options), {}, device)
        self._runner.warm_up()
        self._draw = Draw(Choice((range(shape.vocabulary),)), 0.0, 1.0, 0, 0.0, 1.0, 0, 0)

    def decode(self, streams: int) -> float:
        """Seconds to write WRITTEN tokens in each stream, far into the context."""
        tables = [range(n * CONTEXT // PAGE, (n + 1) * CONTEXT // PAGE) for n in range(streams)]
        tokens = [7] * streams
        began = time.perf_counter()
        for place in range(CONTEXT - WRITTEN, CONTEXT):
            feeds = [
                Feed(table, place, [token], draw=self._draw)
                for table, token in zip(tables, tokens, strict=True)
            ]
            tokens = [fed.token or 0 for fed in self._runner.step(feeds)]
        return time.perf_counter() - began


class _Transformers:
    def __init__(self, shape: Shape, device: str) -> None:
        from transformers import LlamaConfig, LlamaForCausalLM

        sizes = shape.sizes
        config = LlamaConfig(
            vocab_size=shape.vocabulary, hidden_size=sizes.hidden, intermediate_size=shape.inner,
            num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, dtype="bfloat16",
            num_key_value_heads=sizes.kv_heads, max_position_embeddings=CONTEXT + 1,
        )  # fmt: skip
        with torch.device(device):
            self._model: Any = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16).eval()
        self._device = device
        self._vocabulary = shape.vocabulary

    @torch.inference_mode()
    def decode(self, streams: int) -> float:
        """Seconds to write WRITTEN tokens in each stream; the time of the prompts is taken off."""
        return self._write(streams, WRITTEN + 1) - self._write(streams, 1)

    def _write(self, streams: int, tokens: int) -> float:
        ids = torch.randint(0, self._vocabulary, (streams, CONTEXT - WRITTEN), device=self._device)
        began = time.perf_counter()
        self._model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens,
            do_sample=False, pad_token_id=0,
        )[0, -1].item()  # fmt: skip
        return time.perf_counter() - began
