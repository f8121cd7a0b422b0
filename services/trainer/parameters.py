"""How many parameters a recipe trains, part by part: counted on the meta device, so at any size in no time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from anygpt.pack import read_pack
from anygpt_models.lora import LoRA
from anygpt_models.projection import InputProjection, OutputProjection
from services.trainer.pack_recipe import LanguageSizes, PackRecipe
from services.trainer.parameter_table import Row

GROUPING_PROJECTIONS = 28_000_000
"""NExT-GPT's grouping input projections as its paper counts them; a pack of ours has linear ones."""
FROZEN = 12_275_000_000
"""Encoder, language model and decoders of NExT-GPT, as its paper counts them."""

MINI_BASE = 134_515_008
"""SmolLM2-135M, its tied head counted once."""


def recipe_rows(recipe: PackRecipe) -> list[Row]:
    """What a recipe trains around its frozen language model."""
    language, tuning = recipe.language, recipe.tuning
    rows = [Row("language model", language_parameters(language), trained=tuning is None)]
    if tuning is None:
        return rows
    key_width = language.hidden // language.heads * language.key_heads
    with torch.device("meta"):
        lora = LoRA(language.layers, language.hidden, key_width, tuning.rank, tuning.alpha)
        rows.append(Row(f"LoRA, rank {tuning.rank}, on q k v o", _size(lora)))
        for name, width in tuning.feature_widths.items():
            rows.append(Row(f"{name} input projection", _size(InputProjection(width, language.hidden))))
        for name, (queries, width) in tuning.conditions.items():
            rows.append(
                Row(f"{name} output projection", _size(OutputProjection(language.hidden, width, queries)))
            )
    return rows


def mini_rows() -> list[Row]:
    """What the mini pack trains around its base model, by its manifest."""
    parts = read_pack("mini").manifest.parts.items()
    aligned = [
        Row(name, part.parameters) for name, part in parts if name.endswith(("_adapter", "_projection"))
    ]
    return [Row("language model", MINI_BASE, trained=False), *aligned]


def language_parameters(sizes: LanguageSizes) -> int:
    """Parameters of a Llama of these sizes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=sizes.rows, hidden_size=sizes.hidden, intermediate_size=sizes.feed_forward,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, num_key_value_heads=sizes.key_heads,
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device("meta"):
        return _size(LlamaForCausalLM(config))


def published_share(rows: Sequence[Row]) -> float:
    """The trained share of NExT-GPT with the input projections and the frozen parts that its paper counts."""
    kept = [row.count for row in rows if row.trained and "input projection" not in row.part]
    trained = GROUPING_PROJECTIONS + sum(kept)
    return trained / (trained + FROZEN)


def _size(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())
