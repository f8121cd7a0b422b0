"""Low-rank updates of the attention of a running model (LoRA, Hu et al. 2021): each sequence may have its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

from anygpt.errors import Precondition
from anygpt_models.lora import TARGETS, Side, code_places, new_rows
from anygpt_models.part import WEIGHTS, read_config
from services.llm.model.weights import Sizes, Weights


@dataclass(frozen=True, slots=True)
class Adapter:
    """A `LanguageAdapter` part as it lies in a pack."""

    tensors: Mapping[str, torch.Tensor]
    """`lora.<layer>.<q|k|v|o>.{a,b}`, and perhaps `rows_input`, `rows_output` and what codes add to them."""
    scale: float
    places: Mapping[int, str] = field(default_factory=dict)
    """Where codes stand among its rows -> the name of their tensors."""

    def rows(self, side: Side, base: torch.Tensor) -> torch.Tensor | None:
        """The pack's own rows [new tokens, hidden] beside the base's of that side; None: it has none."""
        if f"rows_{side}" not in self.tensors:
            return None
        like = self.tensors.get("codes_like")
        if like is not None and not 0 <= int(like.min()) <= int(like.max()) < len(base):
            raise Precondition(
                "a code is like a token that the base model lacks",
                reason="PACK_MISMATCH",
                field="llm_adapter",
            )
        return new_rows(self.tensors, self.places, side, base)

    def pair(self, layer: int, target: str) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Factors a [in, rank] and b [rank, out], the scale within b; None: no update."""
        name = f"lora.{layer}.{target}."
        if f"{name}a" not in self.tensors:
            return None
        return self.tensors[f"{name}a"].float(), self.tensors[f"{name}b"].float() * self.scale

    def on_top_of(self, other: Adapter, sizes: Sizes) -> Adapter:
        """Both updates as one."""
        tensors: dict[str, torch.Tensor] = {}
        for layer in range(sizes.layers):
            for target in TARGETS:
                pairs = [pair for one in (other, self) if (pair := one.pair(layer, target))]
                if pairs:
                    tensors[f"lora.{layer}.{target}.a"] = torch.cat([a for a, _ in pairs], dim=1)
                    tensors[f"lora.{layer}.{target}.b"] = torch.cat([b for _, b in pairs], dim=0)
        return Adapter(tensors, 1.0)

    def merge(self, weights: Weights) -> None:
        """Write the update into a model's weights: nothing is left to compute later."""
        sizes = weights.sizes
        queries, keys = sizes.heads * sizes.head_width, sizes.kv_heads * sizes.head_width
        rows = {
            "q": slice(0, queries),
            "k": slice(queries, queries + keys),
            "v": slice(queries + keys, None),
            "o": slice(None),
        }
        for layer in range(sizes.layers):
            for target in TARGETS:
                if pair := self.pair(layer, target):
                    name = f"layers.{layer}.{'o' if target == 'o' else 'qkv'}"
                    weights.tensors[name][rows[target]] += (pair[0] @ pair[1]).T


def load_adapter(folder: Path, sizes: Sizes) -> Adapter:
    """Read a part. Raises Precondition when its weights are missing or are for a model of other sizes."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise Precondition("the adapter has no weights", reason="PACK_FILE_MISSING", field=folder.name)
    config = read_config(folder)
    places = code_places(config.get("codes", 0), config.get("codes_after", 0), config.get("books", ()))
    adapter = Adapter(load_file(path), config["alpha"] / config["rank"], places)
    widths = widths_of(sizes)
    for layer in range(sizes.layers):
        for target in TARGETS:
            pair = adapter.pair(layer, target)
            if pair and (len(pair[0]), pair[1].shape[1]) != widths[target]:
                raise Precondition(
                    f"{folder.name} is for a model of other sizes", reason="PACK_MISMATCH", field=folder.name
                )
    return adapter


def widths_of(sizes: Sizes) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of each target."""
    queries, keys = sizes.heads * sizes.head_width, sizes.kv_heads * sizes.head_width
    return {
        "q": (sizes.hidden, queries), "k": (sizes.hidden, keys), "v": (sizes.hidden, keys),
        "o": (queries, sizes.hidden),
    }  # fmt: skip


class Updates:
    """One adapter in the shapes of `llama.py`."""

    def __init__(self, adapter: Adapter, sizes: Sizes, dtype: torch.dtype, device: torch.device) -> None:
        self._pairs = [
            {
                target: (pair[0].to(device, dtype), pair[1].to(device, dtype))
                for target in TARGETS
                if (pair := adapter.pair(layer, target))
            }
            for layer in range(sizes.layers)
        ]
        self._widths = {target: out for target, (_, out) in widths_of(sizes).items()}

    def qkv(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """[N, hidden] to what is added to queries, keys and values, side by side."""
        return torch.cat([self._apply(layer, target, x) for target in "qkv"], dim=-1)

    def output(self, layer: int, x: torch.Tensor) -> torch.Tensor:
        """Attention [N, heads * width] to what is added to its projection."""
        return self._apply(layer, "o", x)

    def _apply(self, layer: int, target: str, x: torch.Tensor) -> torch.Tensor:
        pair = self._pairs[layer].get(target)
        if pair is None:
            return x.new_zeros(len(x), self._widths[target])
        return x @ pair[0] @ pair[1]
