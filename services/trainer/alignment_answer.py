"""Greedy answers of a model in training, many at once, under the grammar of spans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from anygpt.topology import MODALITY_NAMES, SPEECH, Modality
from anygpt.vocabulary import ModalityName
from services.trainer.alignment_model import AlignedModel, MediaVectors
from services.trainer.alignment_sequence import Sequencer, TokenSequence, collate
from services.trainer.data.messages import Part
from services.trainer.device import mixed_precision

MOST_TOKENS = 160
"""Music in codes takes 132."""


@dataclass
class Answer:
    """Tokens so far, and the span that is open."""

    ids: list[int] = field(default_factory=list)
    open: Modality | None = None
    count: int = 0
    done: bool = False


class Answerer:
    """Answers prompts with the likeliest tokens that the grammar allows."""

    def __init__(self, model: AlignedModel, sequencer: Sequencer, media: MediaVectors) -> None:
        self.model = model
        self.sequencer = sequencer
        self.media = media
        self.vocabulary = model.vocabulary
        self._openings = {place.begin: modality for modality, place in self.vocabulary.brackets.items()}

    @torch.no_grad()
    def answer(self, prompts: Sequence[TokenSequence]) -> list[Answer]:
        """Answer each prompt."""
        from transformers import DynamicCache  # seconds, which a list of stages need not take

        answers = [Answer() for _ in prompts]
        longest = max(len(prompt.ids) for prompt in prompts)
        padded = [_padded(prompt, longest) for prompt in prompts]
        mask = torch.tensor([[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts])
        with mixed_precision():
            inputs = self.model.embedded(collate(padded, pad=0), self.media)
            cache = DynamicCache()
            for _ in range(MOST_TOKENS):
                places = (mask.cumsum(1) - 1).clamp_min(0)[:, -inputs.shape[1] :]
                # By place: transformers 5.24 calls the cache `cache`, and earlier ones `past_key_values`.
                out = self.model.base.model(None, mask, places, cache, inputs, use_cache=True)
                states = out.last_hidden_state[:, -1]
                tokens = self._choose(answers, states)
                self._advance(answers, tokens)
                if all(answer.done for answer in answers):
                    break
                inputs = self.model.embed(torch.tensor(tokens)[:, None])
                mask = functional.pad(mask, (0, 1), value=1)
        return answers

    def parts(self, answer: Answer) -> list[Part]:
        """An answer as parts; media without their caption, which only their signals know."""
        parts: list[Part] = []
        text: list[int] = []
        span: list[int] = []
        inside: Modality | None = None
        for token in answer.ids:
            if inside is None and token in self._openings:
                parts += self._text(text)
                text, span, inside = [], [], self._openings[token]
            elif inside is None:
                text.append(token)
            elif token == self.vocabulary.brackets[inside].end:
                words = (
                    self.sequencer.units.decode(self.vocabulary.to_codes(SPEECH, span))
                    if inside == SPEECH
                    else ""
                )
                parts.append(Part(_name(inside), words))
                inside = None
            else:
                span.append(token)
        return parts + self._text(text)

    def _text(self, ids: list[int]) -> list[Part]:
        return [Part("text", self.sequencer.tokenizer.decode(ids))] if ids else []

    def _choose(self, answers: list[Answer], states: Tensor) -> list[int]:
        rows = self.model.rows_output()
        text = self.model.text_logits(states, rows).argmax(1).tolist()
        codes: dict[Modality | None, list[int]] = {
            modality: self.model.code_logits(modality, states, rows).argmax(1).tolist()
            for modality in self.vocabulary.codes
            if any(answer.open == modality for answer in answers)
        }
        return [
            self._next(answer, codes.get(answer.open, text)[place]) for place, answer in enumerate(answers)
        ]

    def _next(self, answer: Answer, likeliest: int) -> int:
        if answer.done:
            return self.sequencer.stop[0]
        if answer.open is None:
            return self.model.text_choices(likeliest)
        if answer.open in self.vocabulary.codes:
            mark = self.vocabulary.marks(answer.open).at(answer.count)
            return self.model.code_choices(answer.open, likeliest) if mark is None else mark
        signals, brackets = self.vocabulary.signals[answer.open], self.vocabulary.brackets[answer.open]
        return signals.first + answer.count if answer.count < signals.count else brackets.end

    def _advance(self, answers: list[Answer], tokens: list[int]) -> None:
        for answer, token in zip(answers, tokens, strict=True):
            if answer.done or (answer.open is None and token == self.sequencer.stop[0]):
                answer.done = True
                continue
            answer.ids.append(token)
            if answer.open is None:
                answer.open, answer.count = self._openings.get(token), 0
            elif token == self.vocabulary.brackets[answer.open].end:
                answer.open = None
            else:
                answer.count += 1


def _padded(prompt: TokenSequence, length: int) -> TokenSequence:
    shift = length - len(prompt.ids)
    features = [slot._replace(start=slot.start + shift) for slot in prompt.features]
    return TokenSequence([0] * shift + prompt.ids, [0] * length, features, [])


def _name(modality: Modality) -> ModalityName:
    return MODALITY_NAMES[modality]  # type: ignore[return-value]
