"""What a pack adds to a frozen language model: low-rank updates of its attention, and rows for new tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from anygpt_models.part import Part, configured

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

TARGETS = ("q", "k", "v", "o")

Hook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]


class LowRank(nn.Module):
    """The update of one linear layer: x -> x A B, zero at first (Hu et al. 2021, arXiv 2106.09685)."""

    def __init__(self, in_width: int, out_width: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.randn(in_width, rank) / in_width**0.5)
        self.b = nn.Parameter(torch.zeros(rank, out_width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in_width] -> [..., out_width]."""
        y: Tensor = x @ self.a.to(x.dtype) @ self.b.to(x.dtype)
        return y


class LoRA(nn.ModuleList):
    """Updates of the query, key, value and output layers of every attention block."""

    def __init__(self, layers: int, width: int, key_width: int, rank: int, alpha: float) -> None:
        sizes = {"q": (width, width), "k": (width, key_width), "v": (width, key_width), "o": (width, width)}
        super().__init__(
            nn.ModuleDict({name: LowRank(*sizes[name], rank) for name in TARGETS}) for _ in range(layers)
        )
        self.scale = alpha / rank

    def attach(self, model: LlamaForCausalLM) -> list[RemovableHandle]:
        """Add the updates to a frozen model while training; the handles take them off again."""
        return [linear.register_forward_hook(self._hook(update)) for linear, update in self._pairs(model)]

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """The model that it is attached to computes as if it had no updates."""
        scale, self.scale = self.scale, 0.0
        try:
            yield
        finally:
            self.scale = scale

    @torch.no_grad()
    def merge(self, model: LlamaForCausalLM) -> None:
        """Write the updates into the model's own weights: nothing is left to compute later."""
        for linear, update in self._pairs(model):
            delta = (update.a.float() @ update.b.float()).T * self.scale
            linear.weight.copy_(linear.weight.float() + delta)

    def _pairs(self, model: LlamaForCausalLM) -> Iterator[tuple[nn.Linear, LowRank]]:
        for layer, updates in zip(model.model.layers, self, strict=True):
            for name in TARGETS:
                yield getattr(layer.self_attn, f"{name}_proj"), updates[name]  # type: ignore[index]

    def _hook(self, update: LowRank) -> Hook:
        def added(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            delta: Tensor = update(inputs[0])
            return output + self.scale * delta

        return added


class LanguageAdapter(Part):
    """LoRA and the rows of the tokens past the base vocabulary, as one part of a pack.

    `rows_input` and `rows_output` [new tokens, width] are in the order of their vocabulary ids.
    """

    @configured
    def __init__(
        self, tokens: int, width: int, key_width: int, layers: int, rank: int = 8, alpha: float = 16.0
    ) -> None:
        super().__init__()
        self.rows_input = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.rows_output = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.lora = LoRA(layers, width, key_width, rank, alpha)

    @torch.no_grad()
    def install(self, model: LlamaForCausalLM) -> None:
        """Make a base model one that knows the new tokens, with the updates merged.

        Its embedding and its head become two tables of base rows and new rows.
        """
        self.lora.merge(model)
        base = cast(Tensor, model.get_input_embeddings().weight)
        size, width = len(base) + len(self.rows_input), base.shape[1]
        embedding = nn.Embedding(size, width, dtype=base.dtype, device=base.device)
        embedding.weight.copy_(torch.cat([base, self.rows_input.to(base)]))
        head = nn.Linear(width, size, bias=False, dtype=base.dtype, device=base.device)
        head.weight.copy_(torch.cat([cast(Tensor, model.lm_head.weight), self.rows_output.to(base)]))
        model.set_input_embeddings(embedding)
        model.lm_head = head
        model.config.vocab_size, model.config.tie_word_embeddings = size, False
        model.requires_grad_(False)
