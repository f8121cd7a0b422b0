"""The forward pass of the Llama family over rows: each row is one token of some sequence, many sequences at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from services.llm.model.cache import Cache
from services.llm.model.rounded import product
from services.llm.model.updates import Updates
from services.llm.model.weights import Sizes, Weights


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose attention is one call: one row of each of several sequences, or several rows of one.

    `rows` are consecutive rows of the step; they fill the shape [B, T] in order. `pages` [B or 1, P] is where their
    sequences lie. `mask` is additive, [B, 1, T, length].
    """

    rows: slice
    pages: torch.Tensor
    length: int
    shape: tuple[int, int]
    mask: torch.Tensor | None
    align: int = 1
    """Query rows are padded to a multiple of it."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a step feeds beside the embeddings: where each row goes, and what it may look at."""

    positions: torch.Tensor
    """[N], position within the sequence."""
    places: torch.Tensor
    """[N], flat row of the cache."""
    groups: Sequence[Group]
    updates: Sequence[tuple[Updates, torch.Tensor]] = ()
    """Low-rank updates, each with the rows [n] that it is for."""


class Llama:
    """RMSNorm, rotary positions, grouped-query attention, SwiGLU (Touvron et al. 2023); biases as in Qwen2."""

    def __init__(self, weights: Weights, dtype: torch.dtype, device: torch.device, bits: int = 0) -> None:
        self.sizes = weights.sizes
        self.dtype = dtype
        tensors = {n: t.to(device, dtype) for n, t in weights.tensors.items() if n != "frequencies"}
        self.embedding = tensors["embedding"]
        self._head = product(tensors["head"], 8 if bits else 0)
        self._norm = tensors["norm"]
        self._layers = [Layer(index, weights.sizes, tensors, bits) for index in range(weights.sizes.layers)]
        self._cos, self._sin = _rotation(weights.tensors["frequencies"].to(device), weights.sizes, dtype)

    def forward(self, x: torch.Tensor, rows: Rows, cache: Cache) -> torch.Tensor:
        """Embeddings [N, hidden] to final-norm hidden states [N, hidden]; writes the rows into the cache."""
        cos, sin = self._cos[rows.positions], self._sin[rows.positions]
        for layer in self._layers:
            x = layer.forward(x, rows, (cos, sin), cache)
        return _norm(x, self._norm, self.sizes)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states [N, hidden] to float32 logits [N, vocabulary]."""
        return self._head(hidden).float()


class Layer:
    """One transformer layer."""

    def __init__(self, index: int, sizes: Sizes, tensors: dict[str, torch.Tensor], bits: int) -> None:
        self._index = index
        self._sizes = sizes
        prefix = f"layers.{index}."
        self._before_attention = tensors[prefix + "before_attention"]
        self._qkv = product(tensors[prefix + "qkv"], bits, tensors.get(prefix + "qkv_bias"))
        self._o = product(tensors[prefix + "o"], bits)
        self._before_mlp = tensors[prefix + "before_mlp"]
        self._gate_up = product(tensors[prefix + "gate_up"], bits)
        self._down = product(tensors[prefix + "down"], bits)

    def forward(
        self, x: torch.Tensor, rows: Rows, rotation: tuple[torch.Tensor, torch.Tensor], cache: Cache
    ) -> torch.Tensor:
        """[N, hidden] to [N, hidden]."""
        sizes = self._sizes
        normed = _norm(x, self._before_attention, sizes)
        qkv = self._qkv(normed)
        for updates, chosen in rows.updates:
            qkv[chosen] += updates.qkv(self._index, normed[chosen])
        qkv = qkv.view(len(x), -1, sizes.head_width)
        turned = _rotate(qkv[:, : sizes.heads + sizes.kv_heads], *rotation)
        cache.write(
            self._index, rows.places, turned[:, sizes.heads :], qkv[:, sizes.heads + sizes.kv_heads :]
        )
        seen = [_attend(turned[g.rows, : sizes.heads], g, cache, self._index) for g in rows.groups]
        attended = torch.cat(seen) if len(seen) > 1 else seen[0]
        x = x + self._o(attended)
        for updates, chosen in rows.updates:
            x[chosen] += updates.output(self._index, attended[chosen])
        gate, up = self._gate_up(_norm(x, self._before_mlp, sizes)).chunk(2, dim=-1)
        return x + self._down(F.silu(gate) * up)


def _attend(q: torch.Tensor, group: Group, cache: Cache, layer: int) -> torch.Tensor:
    """Queries [n, heads, width] of one group to their attention [n, heads * width]."""
    keys, values = cache.read(layer, group.pages, group.length)
    _, heads, width = q.shape
    batch, time = group.shape
    # The query heads that share a key head stand side by side in time: no key is ever copied.
    kv_heads = keys.shape[1]
    shared = heads // kv_heads
    q = (
        q.view(batch, time, kv_heads, shared, width)
        .permute(0, 2, 3, 1, 4)
        .reshape(batch, kv_heads, -1, width)
    )
    q = F.pad(q, (0, 0, 0, -q.shape[2] % group.align)) if group.align > 1 else q
    if batch > len(keys):
        keys, values = keys.expand(batch, -1, -1, -1), values.expand(batch, -1, -1, -1)
    mask = group.mask if group.mask is None or time == 1 else group.mask.repeat(1, 1, shared, 1)
    out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
    out = out[:, :, : shared * time].view(batch, kv_heads, shared, time, width).permute(0, 3, 1, 2, 4)
    return out.reshape(batch * time, heads * width)


def _norm(x: torch.Tensor, weight: torch.Tensor, sizes: Sizes) -> torch.Tensor:
    return F.rms_norm(x, (sizes.hidden,), weight, sizes.epsilon)


def _rotation(
    frequencies: torch.Tensor, sizes: Sizes, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and signed sines of all positions, [positions, 1, width] (RoPE, Su et al. 2021)."""
    angles = torch.outer(torch.arange(sizes.positions, device=frequencies.device).float(), frequencies)
    cos, sin = angles.cos() * sizes.rope_scale, angles.sin() * sizes.rope_scale
    cos, sin = torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)
    return cos.to(dtype).unsqueeze(1), sin.to(dtype).unsqueeze(1)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
