"""The frozen language model with everything that alignment trains around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from anygpt.topology import TEXT, Modality
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt_models.lora import LanguageAdapter
from anygpt_models.part import Part
from anygpt_models.projection import InputProjection, OutputProjection
from services.trainer.alignment_conditions import ConditionLoss
from services.trainer.alignment_sequence import Batch, Slot

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

MediaVectors = Callable[[ModalityName, Sequence[str]], Tensor]
"""Modality, captions -> features or embeddings of media that show them."""


class AlignedModel(nn.Module):
    """Base model, adapter, input and output projections; only the base is frozen."""

    def __init__(
        self, base: LlamaForCausalLM, vocabulary: Vocabulary, adapter: LanguageAdapter,
        into: dict[ModalityName, InputProjection], out: dict[ModalityName, OutputProjection],
    ) -> None:  # fmt: skip
        super().__init__()
        self.base = base.requires_grad_(False)
        self.vocabulary = vocabulary
        self.adapter = adapter
        self.into = nn.ModuleDict({str(name): part for name, part in into.items()})
        self.out = nn.ModuleDict({str(name): part for name, part in out.items()})
        adapter.lora.attach(base)
        self._openings = [place.begin - vocabulary.text_size for place in vocabulary.brackets.values()]

    def learn(self, *parts: nn.Module) -> None:
        """Freeze everything but these parts."""
        self.requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [B, T] -> input embeddings [B, T, width] of base rows and new rows."""
        size, table = self.vocabulary.text_size, cast(Tensor, self.base.get_input_embeddings().weight)
        old = functional.embedding(ids.clamp_max(size - 1), table)
        new = functional.embedding((ids - size).clamp_min(0), self.adapter.rows("input", table)).to(old.dtype)
        return torch.where((ids >= size)[..., None], new, old)

    def embedded(self, batch: Batch, media: MediaVectors) -> Tensor:
        """Input embeddings [B, T, width], media put in their places; words need no projection."""
        embeddings = self.embed(batch.ids)
        for modality, slots in gathered(batch.features):
            vectors = media(modality, [slot.caption for _, slot in slots])
            if vectors.shape[-1] != embeddings.shape[-1]:
                vectors = self.into[modality](vectors)
            rows, places = _index(slots)
            embeddings = embeddings.index_put((rows, places), vectors.to(embeddings.dtype))
        return embeddings

    def hidden(self, batch: Batch, media: MediaVectors) -> tuple[Tensor, Tensor]:
        """Last hidden states and input embeddings [B, T, width]."""
        embeddings = self.embedded(batch, media)
        states: Tensor = self.base.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return states, embeddings

    def answer_loss(self, batch: Batch, states: Tensor) -> Tensor:
        """Cross-entropy of the answers, each token among those that the grammar allows at its place."""
        learned, ids, before = batch.learned[:, 1:], batch.ids[:, 1:], states[:, :-1]
        rows, text = self.rows_output(), learned == TEXT
        logits = self.text_logits(before[text], rows)
        losses = [functional.cross_entropy(logits, self._text_targets(ids[text]), reduction="sum")]
        for modality, codes in self.vocabulary.codes.items():
            if (chosen := learned == modality).any():
                targets = (ids[chosen] - codes.first).clamp(0, codes.count)
                targets[ids[chosen] == self.vocabulary.brackets[modality].end] = codes.count
                logits = self.code_logits(modality, before[chosen], rows)
                losses.append(functional.cross_entropy(logits, targets, reduction="sum"))
        return torch.stack(losses).sum() / (learned > 0).sum()

    def rows_output(self) -> Tensor:
        """The rows of the new tokens [tokens, width] that states are compared with."""
        return self.adapter.rows("output", self.base.lm_head.weight)

    def text_logits(self, states: Tensor, rows: Tensor) -> Tensor:
        """States [N, width] -> logits of text ids, then of the opening brackets."""
        openings = states.float() @ rows[self._openings].T
        return torch.cat([self.base.lm_head(states).float(), openings], dim=1)

    def text_choices(self, place: int) -> int:
        """The id at a place of `text_logits`."""
        size = self.vocabulary.text_size
        return place if place < size else size + self._openings[place - size]

    def code_logits(self, modality: Modality, states: Tensor, rows: Tensor) -> Tensor:
        """States [N, width] -> logits of the codes of a modality, then of the end of their span."""
        codes, size = self.vocabulary.codes[modality], self.vocabulary.text_size
        end = self.vocabulary.brackets[modality].end - size
        return states.float() @ torch.cat([rows[codes.first - size :][: codes.count], rows[end, None]]).T

    def code_choices(self, modality: Modality, place: int) -> int:
        """The id at a place of `code_logits`."""
        codes = self.vocabulary.codes[modality]
        return codes.first + place if place < codes.count else self.vocabulary.brackets[modality].end

    def _text_targets(self, ids: Tensor) -> Tensor:
        size = self.vocabulary.text_size
        targets = ids.clone()
        for place, row in enumerate(self._openings):
            targets[ids == size + row] = size + place
        return targets

    def condition_loss(self, batch: Batch, states: Tensor, embeddings: Tensor, loss: ConditionLoss) -> Tensor:
        """How far the projected signals of a batch are from the conditions of their captions."""
        losses = [states.new_zeros((), dtype=torch.float32)]
        for modality, slots in gathered(batch.signals):
            projected = self.out[modality](self.signals_at(modality, slots, states, embeddings))
            captions = [slot.caption for _, slot in slots]
            losses.append(loss(modality, projected, captions) * (len(slots) / len(batch.signals)))
        return torch.stack(losses).sum()

    def drift_loss(self, ids: Tensor) -> Tensor:
        """Plain English [B, T]: the divergence of what is expected next from what the base model expects, in nats.

        Gradients stop at the base model: this is distillation from the model that alignment starts from.
        """
        with torch.no_grad(), self.adapter.lora.left_out():
            before = functional.log_softmax(self.base(input_ids=ids).logits.float(), -1)
        now = functional.log_softmax(self.base(input_ids=ids).logits.float(), -1)
        return functional.kl_div(now, before, reduction="none", log_target=True).sum(-1).mean()

    def signals_at(
        self, modality: ModalityName, slots: Sequence[tuple[int, Slot]], states: Tensor, embeddings: Tensor
    ) -> Tensor:
        """Hidden state plus input embedding at the signal tokens, [slots, count, width]."""
        rows, places = _index(slots)
        return (states + embeddings)[rows, places]

    def parts(self) -> dict[str, Part]:
        """Every trained part by its name in a pack."""
        parts: dict[str, Any] = {"llm_adapter": self.adapter}
        parts |= {f"{modality}_input_projection": part for modality, part in self.into.items()}
        parts |= {f"{modality}_output_projection": part for modality, part in self.out.items()}
        return parts


def gathered(slots: Sequence[tuple[int, Slot]]) -> list[tuple[ModalityName, list[tuple[int, Slot]]]]:
    """Slots of a batch by modality and length, in the order in which they come."""
    found: dict[tuple[ModalityName, int], list[tuple[int, Slot]]] = {}
    for row, slot in slots:
        found.setdefault((slot.modality, slot.length), []).append((row, slot))
    return [(modality, alike) for (modality, _), alike in found.items()]


def _index(slots: Sequence[tuple[int, Slot]]) -> tuple[Tensor, Tensor]:
    count = slots[0][1].length
    rows = torch.tensor([row for row, _ in slots])[:, None].expand(-1, count)
    places = torch.tensor([slot.start for _, slot in slots])[:, None] + torch.arange(count)
    return rows, places
