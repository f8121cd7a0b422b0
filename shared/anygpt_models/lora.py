"""What a pack adds to a frozen language model: low-rank updates of its attention, and rows for new tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from anygpt_models.part import Part, configured

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

TARGETS = ("q", "k", "v", "o")

Side = Literal["input", "output"]

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


class CodeRows(nn.Module):
    """Rows of codes that are spelled as text tokens are: the token's row in the base, a shift, a low-rank step.

    A code that no dialogue held is understood all the same, by its token and by the shift that all share.
    """

    def __init__(self, count: int, width: int, rank: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))
        self.a = nn.Parameter(torch.zeros(count, rank))
        self.b = nn.Parameter(torch.randn(rank, width) / width**0.5)


class LanguageAdapter(Part):
    """LoRA and the rows of the tokens past the base vocabulary, as one part of a pack.

    `rows_input` and `rows_output` [tokens - codes, width] are in the order of their vocabulary ids; the `codes` among
    them that are spelled as text tokens are stand after `codes_after` others, and `codes_like` says as which.
    """

    codes_like: Tensor

    @configured
    def __init__(  # noqa: PLR0913  the settings of its config.json
        self, tokens: int, width: int, key_width: int, layers: int, rank: int = 8, alpha: float = 16.0,
        codes: int = 0, codes_after: int = 0, codes_rank: int = 16,
    ) -> None:  # fmt: skip
        super().__init__()
        self.rows_input = nn.Parameter(torch.randn(tokens - codes, width) * 0.02)
        self.rows_output = nn.Parameter(torch.randn(tokens - codes, width) * 0.02)
        self.lora = LoRA(layers, width, key_width, rank, alpha)
        self.codes_after = codes_after
        if codes:
            self.register_buffer("codes_like", torch.zeros(codes, dtype=torch.int32))
            self.codes_input = CodeRows(codes, width, codes_rank)
            self.codes_output = CodeRows(codes, width, codes_rank)

    def rows(self, side: Side, base: Tensor) -> Tensor:
        """All new rows [tokens, width] of one side, beside the base's rows of that side."""
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return new_rows(tensors, self.codes_after, side, base)

    @torch.no_grad()
    def install(self, model: LlamaForCausalLM) -> None:
        """Make a base model one that knows the new tokens, with the updates merged.

        Its embedding and its head become two tables of base rows and new rows.
        """
        self.lora.merge(model)
        known = cast(Tensor, model.get_input_embeddings().weight)
        table = torch.cat([known, self.rows("input", known).to(known)])
        known = cast(Tensor, model.lm_head.weight)
        choices = torch.cat([known, self.rows("output", known).to(known)])
        size, width = table.shape
        embedding = nn.Embedding(size, width, dtype=table.dtype, device=table.device)
        embedding.weight.copy_(table)
        head = nn.Linear(width, size, bias=False, dtype=table.dtype, device=table.device)
        head.weight.copy_(choices)
        model.set_input_embeddings(embedding)
        model.lm_head = head
        model.config.vocab_size, model.config.tie_word_embeddings = size, False
        model.requires_grad_(False)


def new_rows(tensors: Mapping[str, Tensor], codes_after: int, side: Side, base: Tensor) -> Tensor:
    """The new rows [tokens, width] of one side from the tensors of an adapter and the base's rows."""
    own = tensors[f"rows_{side}"].float()
    if "codes_like" not in tensors:
        return own
    shift, a, b = (tensors[f"codes_{side}.{name}"].float() for name in ("shift", "a", "b"))
    codes = base[tensors["codes_like"].long()].float() + shift + a @ b
    return torch.cat([own[:codes_after], codes, own[codes_after:]])
