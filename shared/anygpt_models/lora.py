"""What a pack adds to a frozen language model: low-rank updates of its attention, and rows for new tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Rows of codes: a shift and a low-rank step, for codes that are spelled as text tokens on top of the token's row.

    Such a code is understood even where no dialogue held it, by its token and by the shift that all share. Of others
    `a` may begin as what their codec says of them.
    """

    def __init__(self, count: int, width: int, rank: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))
        self.a = nn.Parameter(torch.zeros(count, rank))
        self.b = nn.Parameter(torch.randn(rank, width) / width**0.5)


Book = Sequence[int]
"""Codes, their rank, then after how many other new tokens they stand; a book may stand in several places."""


class LanguageAdapter(Part):
    """LoRA and the rows of the tokens past the base vocabulary, as one part of a pack.

    `rows_input` and `rows_output` [others, width] are in the order of their vocabulary ids. The `codes` among the
    tokens that are spelled as text tokens are stand after `codes_after` others, and `codes_like` says as which; codes
    that are not stand in `books`, each with rows of its own.
    """

    codes_like: Tensor

    @configured
    def __init__(  # noqa: PLR0913  the settings of its config.json
        self, tokens: int, width: int, key_width: int, layers: int, rank: int = 8, alpha: float = 16.0,
        codes: int = 0, codes_after: int = 0, codes_rank: int = 16, books: Sequence[Book] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        others = tokens - codes - sum(count * len(places) for count, _, *places in books)
        self.rows_input = nn.Parameter(torch.randn(others, width) * 0.02)
        self.rows_output = nn.Parameter(torch.randn(others, width) * 0.02)
        self.lora = LoRA(layers, width, key_width, rank, alpha)
        self.places = code_places(codes, codes_after, books)
        if codes:
            self.register_buffer("codes_like", torch.zeros(codes, dtype=torch.int32))
            self.codes_input = CodeRows(codes, width, codes_rank)
            self.codes_output = CodeRows(codes, width, codes_rank)
        for number, (count, book_rank, *_) in enumerate(books):
            self.add_module(f"book{number}_input", CodeRows(count, width, book_rank))
            self.add_module(f"book{number}_output", CodeRows(count, width, book_rank))

    def book(self, number: int, side: Side) -> CodeRows:
        """The rows of one book."""
        return cast(CodeRows, self.get_submodule(f"book{number}_{side}"))

    def rows(self, side: Side, base: Tensor) -> Tensor:
        """All new rows [tokens, width] of one side, beside the base's rows of that side."""
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return new_rows(tensors, self.places, side, base)

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


def code_places(codes: int, codes_after: int, books: Sequence[Book]) -> Mapping[int, str]:
    """Where codes stand among the new tokens -> the name of their tensors, in order."""
    places = {codes_after: "codes"} if codes else {}
    places |= {place: f"book{number}" for number, book in enumerate(books) for place in book[2:]}
    return dict(sorted(places.items()))


def new_rows(tensors: Mapping[str, Tensor], places: Mapping[int, str], side: Side, base: Tensor) -> Tensor:
    """The new rows [tokens, width] of one side from the tensors of an adapter and the base's rows."""
    own = tensors[f"rows_{side}"].float()
    made = {name: _code_rows(tensors, name, side, base) for name in set(places.values())}
    found, taken, length = list[Tensor](), 0, 0
    for place, name in places.items():
        found += [own[taken : taken + place - length], made[name]]
        taken, length = taken + place - length, place + len(made[name])
    return torch.cat([*found, own[taken:]])


def _code_rows(tensors: Mapping[str, Tensor], name: str, side: Side, base: Tensor) -> Tensor:
    shift, a, b = (tensors[f"{name}_{side}.{part}"].float() for part in ("shift", "a", "b"))
    rows = shift + a @ b
    like = tensors.get(f"{name}_like")
    return rows if like is None else base[like.long()].float() + rows
