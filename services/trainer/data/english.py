"""Plain English that the base model itself wrote: what alignment must not change is measured on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from services.trainer.data.stored import made_once

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Author = Callable[[list[str]], list[list[int]]]
"""Beginnings -> token ids of texts that go on from them."""

LENGTH = 64
"""Tokens of a text."""
COPIES = 12
"""Texts from one beginning."""
_BEGINNINGS = """
The In It When A She He They We There After For Most If First One During At Scientists My On Last Every Many Although
Old To How Once Music Before This Our Each Results Dear What While Some An With Because Inside Today Nobody Over People
Water Children During Since Between From By No Two As Both Your Just Here Then History Doctors Winter English
"""


def texts(cache: Path, author: Author) -> Tensor:
    """Token ids [texts, LENGTH] that the base model has sampled from itself; written once, then kept."""
    beginnings = list(dict.fromkeys(_BEGINNINGS.split()))
    return torch.tensor(
        made_once(cache / "data" / "english.json", list[list[int]], lambda: author(beginnings * COPIES))
    )


def sampled(model: Any, tokenizer: PreTrainedTokenizerFast, size: int = 64) -> Author:
    """An author that draws each token as the model would, from the first token of a beginning."""

    @torch.inference_mode()
    def write(beginnings: list[str]) -> list[list[int]]:
        torch.manual_seed(0)
        starts = torch.tensor([tokenizer(text)["input_ids"][:1] for text in beginnings])
        options = {"min_new_tokens": LENGTH - 1, "max_new_tokens": LENGTH - 1}
        found = [
            model.generate(some, attention_mask=torch.ones_like(some), do_sample=True, top_k=0, **options)
            for some in starts.split(size)
        ]
        ids: list[list[int]] = torch.cat(found).tolist()
        return ids

    return write
