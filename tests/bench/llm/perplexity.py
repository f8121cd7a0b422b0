"""What rounded weights cost: perplexity of English text by each number format, beside that of float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from anygpt.pack import Pack, open_pack
from services.llm.model.loading import RunnerOptions, load_network
from services.llm.pages import PAGE
from services.llm.settings import LlmSettings
from services.llm.step import Choice, Feed
from services.llm.tokeniser import Tokeniser
from tests.bench.row import Row

WINDOW = 256
MOST = 8192
"""Tokens that are read at most."""
FORMATS = ("fp32", "bf16", "int8", "int4")


def measure(threads: int) -> list[Row]:
    """Perplexity by format, and what each costs."""
    pack = open_pack("mini")
    ids = english(pack)[:MOST]
    found = {dtype: perplexity(pack, dtype, ids, threads) for dtype in FORMATS}
    found["int8, as a prompt"] = perplexity(pack, "int8", ids, threads, read=WINDOW)
    costs = [
        Row(f"perplexity, {name} over fp32", [100 * (value / found["fp32"] - 1)], "%", "<= 1 %")
        for name, value in found.items()
        if name != "fp32"
    ]
    return [*(Row(f"perplexity, {dtype}", [value], "") for dtype, value in found.items()), *costs]


def english(pack: Pack) -> list[int]:
    """The prose of this project's pages as ids."""
    root = Path(__file__).parents[3]
    pages = [root / "README.md", *sorted(root.glob("services/*/README.md"))]
    tokeniser = Tokeniser(pack.part("tokenizer") / "tokenizer.json", pack.vocabulary.text_size)
    return tokeniser.encode("\n\n".join(page.read_text() for page in pages))


@torch.inference_mode()
def perplexity(pack: Pack, dtype: str, ids: Sequence[int], threads: int, read: int = 0) -> float:
    """Of windows of the text, the first `read` ids of each as a prompt, the others as if they had been written."""
    options = RunnerOptions(LlmSettings().cache.expanduser(), WINDOW // PAGE, WINDOW, dtype, threads=threads)
    network = load_network(pack, options)
    text = Choice((range(pack.vocabulary.text_size),))
    losses = []
    for first in range(0, len(ids) - WINDOW, WINDOW):
        window = ids[first : first + WINDOW]
        hidden = network.forward(network.embed(window), [Feed(range(WINDOW // PAGE), 0, window, read)])
        logits = network.logits(hidden[:-1], [text] * (WINDOW - 1))[:, : pack.vocabulary.text_size]
        losses.append(float(torch.nn.functional.cross_entropy(logits, torch.tensor(window[1:]))))
    return math.exp(sum(losses) / len(losses))
