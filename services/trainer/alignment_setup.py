"""What the stages of alignment share: the model, how dialogues are written, and where they start from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anygpt.topology import MODALITIES, SPEECH
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt.whole import write_whole
from anygpt_models.layout import MOST_THINGS, Layout
from anygpt_models.lora import LanguageAdapter
from anygpt_models.part import is_kept
from anygpt_models.projection import InputProjection, OutputProjection
from anygpt_models.speech_units import SpeechUnits
from services.trainer import pack
from services.trainer.alignment_model import AlignedModel
from services.trainer.alignment_sequence import MediaCodes, Sequencer, no_codes
from services.trainer.alignment_words import LENGTHS, WordTargets, first_rows, length
from services.trainer.base_model import base_model
from services.trainer.data import chat
from services.trainer.data.speech import common_words
from services.trainer.data.talk import Talk
from services.trainer.recipe import Recipe

RANK, ALPHA = 16, 32.0
FEATURE_WIDTH = CONDITION_WIDTH = 256
QUERIES = 8
"""Vectors of a condition."""
INPUT_WIDTH, OUTPUT_WIDTH = 128, 128
"""Inner widths of the projections: the mini pack has to be small."""


@dataclass(frozen=True)
class Alignment:
    """All that the stages share: the model, how dialogues are written, and what its media are."""

    model: AlignedModel
    sequencer: Sequencer
    words: WordTargets
    talk: Talk

    @classmethod
    def open(
        cls, recipe: Recipe, form: pack.Form = pack.SIGNALS, media_codes: MediaCodes = no_codes
    ) -> Alignment:
        """Load the base model, and the trained parts that the pack has; new parts start from its words."""
        base, tokenizer = base_model()
        keep_tokenizer(tokenizer, recipe.pack / "tokenizer")
        exchanges = chat.exchanges(recipe.cache, chat.greedy(base, tokenizer))
        scenes = form is pack.SIGNALS and is_kept(recipe.pack / pack.SCENES)
        talk = Talk.of(exchanges, common_words(recipe.cache / "data" / "speech"), scenes)
        vocabulary = Vocabulary(form.layout)
        units = SpeechUnits.from_pretrained(recipe.pack / "speech_units")
        sequencer = Sequencer(vocabulary, tokenizer, units, pack.PROMPT, length, media_codes)
        embedding = base.get_input_embeddings().weight.detach()
        torch.manual_seed(0)
        adapter = _adapter(recipe.pack / "llm_adapter", base.config, sequencer, embedding)
        featured = [modality for modality in LENGTHS if MODALITIES[modality] in vocabulary.signals]
        words = WordTargets(sequencer.tokens, embedding)
        into = {
            modality: input_projection(modality, recipe.pack, embedding.shape[1]) for modality in featured
        }
        if scenes:
            into["image"] = reading_layouts(into["image"], words)
        out = {
            modality: output_projection(modality, recipe.pack, embedding.shape[1], scenes)
            for modality in featured
        }
        model = AlignedModel(base, vocabulary, adapter, into, out)
        return cls(model, sequencer, words, talk)


def keep_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Write tokenizer.json without white space, which halves it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(
        json.loads(tokenizer.backend_tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")
    )
    write_whole(folder / "tokenizer.json", text + "\n")


def input_projection(modality: ModalityName, pack_folder: Path, width: int) -> InputProjection:
    """The pack's projection of one modality's features, or a new one."""
    part = pack_folder / f"{modality}_input_projection"
    if is_kept(part):
        return InputProjection.from_pretrained(part, torch_dtype=torch.float32)
    return InputProjection(FEATURE_WIDTH, width, LENGTHS[modality], INPUT_WIDTH)


@torch.no_grad()
def reading_layouts(projection: InputProjection, words: WordTargets) -> InputProjection:
    """A projection that reads layouts as well; one that did not begins with the words for them, which are linear."""
    if projection.setting("layout"):
        return projection
    wider = projection.with_layout(pack.LAYOUT_LENGTH)
    layouts = Layout.every()
    vectors = layouts.vectors()
    given = torch.cat([vectors, torch.ones(len(vectors), 1)], dim=1)
    found = torch.linalg.lstsq(given, words.layouts(layouts).flatten(1), driver="gelsd").solution
    wider.layout.weight.copy_(found[:-1].T)
    wider.layout.bias.copy_(found[-1])
    return wider


def output_projection(
    modality: ModalityName, pack_folder: Path, width: int, scenes: bool = False
) -> OutputProjection:
    """The pack's projection of one modality's signals, or a new one; with scenes, one for several things."""
    part = pack_folder / f"{modality}_output_projection"
    queries = MOST_THINGS * (QUERIES + 1) if scenes and modality == "image" else QUERIES
    if not is_kept(part):
        return OutputProjection(width, CONDITION_WIDTH, queries, OUTPUT_WIDTH, layers=1, feed_forward=256)
    found = OutputProjection.from_pretrained(part, torch_dtype=torch.float32)
    return found.with_queries(queries) if queries > found.setting("queries") else found


def _adapter(part: Path, config: Any, sequencer: Sequencer, embedding: Tensor) -> LanguageAdapter:
    if is_kept(part):
        return LanguageAdapter.from_pretrained(part, torch_dtype=torch.float32)
    vocabulary, units = sequencer.vocabulary, sequencer.units
    adapter = LanguageAdapter(
        vocabulary.size - vocabulary.text_size,
        config.hidden_size,
        config.num_key_value_heads * config.head_dim,
        config.num_hidden_layers,
        RANK,
        ALPHA,
        codes=len(units),
        codes_after=vocabulary.codes[SPEECH].first - vocabulary.text_size,
    )
    into, out = first_rows(vocabulary, sequencer.tokens, embedding)
    adapter.rows_input.data.copy_(into)
    adapter.rows_output.data.copy_(out)
    adapter.codes_like.copy_(torch.tensor(sequencer.spelled_alike()))
    for codes in (adapter.codes_input, adapter.codes_output):
        codes.b.data *= embedding.norm(dim=1).mean()
    return adapter
