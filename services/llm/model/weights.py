"""Weights in the layout of `llama.py`: converted once from any Llama-family model, then kept as one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from anygpt.errors import Precondition
from anygpt.pack import file_digest
from anygpt_models.lora import Side

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OwnRows = Callable[[Side, torch.Tensor], torch.Tensor | None]
"""A side, the base's rows of it -> the pack's new rows of it, or None where it has none."""

LAYOUT = 1
"""Raised when the converted layout changes, so that no stale file is read."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers that shape a Llama-family model."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_width: int
    positions: int
    epsilon: float
    rope_scale: float


@dataclass(slots=True)
class Weights:
    """All tensors by name, float32: `embedding`, `head`, `norm`, `frequencies`, `layers.<i>.<part>`."""

    sizes: Sizes
    tensors: dict[str, torch.Tensor]


def load_base(source: Path, cache: Path) -> Weights:
    """Read a GGUF file or a `save_pretrained` folder, by way of the converted copy in `cache`.

    Raises Precondition for a model that is not of the Llama family.
    """
    path = cache / "llm" / f"{source_digest(source)[:32]}-{LAYOUT}.safetensors"
    if not path.is_file():
        _save(path, _convert(_pretrained(source)))
    with safe_open(path, framework="pt") as file:
        sizes = Sizes(**json.loads(file.metadata()["sizes"]))
        return Weights(sizes, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def source_digest(source: Path) -> str:
    """Sha256 over all files of a base model."""
    files = [source] if source.is_file() else sorted([*source.glob("*.safetensors"), source / "config.json"])
    return hashlib.sha256("".join(map(file_digest, files)).encode()).hexdigest()


def _save(path: Path, weights: Weights) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(weights.tensors, partial, metadata={"sizes": json.dumps(asdict(weights.sizes))})
    partial.replace(path)


def _pretrained(source: Path) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM

    folder, options = (source.parent, {"gguf_file": source.name}) if source.is_file() else (source, {})
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True, **options)


def _convert(model: PreTrainedModel) -> Weights:
    config: Any = model.config
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    rotary: Any = model.base_model.rotary_emb
    sizes = Sizes(
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=config.num_key_value_heads,
        head_width=width,
        positions=config.max_position_embeddings,
        epsilon=config.rms_norm_eps,
        rope_scale=float(rotary.attention_scaling),
    )
    state = dict(model.state_dict())
    tensors = {
        "embedding": state.pop("model.embed_tokens.weight"),
        "head": state.pop("lm_head.weight"),
        "norm": state.pop("model.norm.weight"),
        "frequencies": rotary.inv_freq.float(),
    }
    for index in range(sizes.layers):
        tensors |= _convert_layer(state, f"model.layers.{index}.", f"layers.{index}.")
    if config.tie_word_embeddings:
        del tensors["head"]
    if state:
        raise Precondition(
            f"the model has weights of another family: {min(state)}", reason="MODEL_UNSUPPORTED"
        )
    return Weights(sizes, {name: tensor.contiguous().clone() for name, tensor in tensors.items()})


def _convert_layer(state: dict[str, torch.Tensor], old: str, new: str) -> dict[str, torch.Tensor]:
    def fused(group: str, parts: str, kind: str = "weight") -> torch.Tensor:
        return torch.cat([state.pop(f"{old}{group}.{part}_proj.{kind}") for part in parts.split()])

    tensors = {
        f"{new}before_attention": state.pop(f"{old}input_layernorm.weight"),
        f"{new}qkv": fused("self_attn", "q k v"),
        f"{new}o": fused("self_attn", "o"),
        f"{new}before_mlp": state.pop(f"{old}post_attention_layernorm.weight"),
        f"{new}gate_up": fused("mlp", "gate up"),
        f"{new}down": fused("mlp", "down"),
    }
    if f"{old}self_attn.q_proj.bias" in state:
        tensors[f"{new}qkv_bias"] = fused("self_attn", "q k v", "bias")
    return tensors


def add_rows(weights: Weights, text_size: int, total: int, own: OwnRows) -> None:
    """Cut embedding and head to the text rows and append the pack's own.

    Without any these are the rows that the model itself has past the text, or else the mean row.
    """
    sides: tuple[tuple[str, Side], ...] = (("head", "output"), ("embedding", "input"))
    for name, side in sides:
        base = weights.tensors.get(name, weights.tensors["embedding"])
        if len(base) < text_size:
            raise Precondition(
                "the base model has fewer rows than the vocabulary's text", reason="PACK_MISMATCH"
            )
        rest = base[text_size:total] if len(base) >= total else base.mean(0).expand(total - text_size, -1)
        rows = own(side, base)
        rows = rest if rows is None else rows
        if rows.shape != (total - text_size, weights.sizes.hidden):
            raise Precondition(
                f"rows_{side} does not fit the vocabulary", reason="PACK_MISMATCH", field="llm_adapter"
            )
        weights.tensors[name] = torch.cat([base[:text_size], rows.to(base)])
