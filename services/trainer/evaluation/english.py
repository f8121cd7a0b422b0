"""The row of plain English: how much of the base model's own ability the pack has kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from anygpt.pack import Pack
from anygpt_models.lora import LanguageAdapter
from services.trainer.base_model import base_model
from services.trainer.evaluation.asking import Question
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import Reply
from services.trainer.evaluation.task import Bench, Metric, Row
from services.trainer.pack import ADAPTER, BASE_MODEL

TEXTS = (
    "The old lighthouse stood at the end of a narrow road. Every evening its keeper climbed up to light the lamp.",
    "Water boils at one hundred degrees Celsius at sea level, but on a high mountain it boils at a lower temperature.",
    "She opened the letter slowly, read it twice, and then put it back on the table without saying a word.",
    "To make a good loaf of bread you need flour, water, salt and yeast, and above all you need patience.",
    "The train was late because heavy snow had fallen during the night and two trees were lying on the tracks.",
    "In the nineteenth century many people left their villages to look for work in the growing cities of Europe.",
    "A computer program is a list of instructions that tells a machine what to do, one small step after another.",
    "Children who read every day learn new words quickly and often find it easier to write good stories of their own.",
    "The committee met for three hours and agreed on nothing except the date of its next meeting.",
    "When two surfaces rub against each other, part of the energy of their motion is turned into heat.",
    "My grandfather kept bees behind the house, and he used to say that they knew him by the sound of his steps.",
    "Interest rates rose again this month, and economists expect that fewer families will buy a house next year.",
    "The museum is closed on Mondays. On all other days it opens at ten, and the last visitors are let in at five.",
    "Most birds that live in the far north fly south in the autumn, as they would find too little to eat in winter.",
    "He was sure that he had locked the door, yet when he came home in the evening it was standing wide open.",
    "A contract is binding only if both parties understood what they were agreeing to and agreed to it freely.",
    "The recipe is simple: fry the onions in butter, add the rice, pour in the stock little by little, and stir.",
    "Nobody in the village could remember a summer as dry as this one, and the river had almost disappeared.",
    "The heart is a muscle about the size of a fist which pumps blood through the body some seventy times a minute.",
    "If you want to learn a language, listen to it every day, even when you do not understand what is being said.",
    "The captain looked at the sky, ordered the sails to be taken in, and told the passengers to stay below deck.",
    "Light from the sun needs a little more than eight minutes to reach the earth.",
    "They painted the kitchen yellow, hung up new curtains, and invited all their neighbours to dinner on Saturday.",
    "Good managers ask many questions, listen to the answers, and are not afraid to change their minds.",
)
"""Written for this row; no training sees them."""


LOG_GAIN = 0.02956
"""The logarithm of 1.03."""


class PerplexityRow(Row):
    """Nats a token that plain English costs beyond the base model: 0.0296 of them are 3 % more perplexity."""

    name = "text alone"
    metrics = (
        Metric(
            "text alone: log perplexity beyond the base model's",
            "the base model",
            LOG_GAIN,
            "nats",
            at_most=True,
        ),
    )

    def applies(self, pack: Pack) -> bool:
        """See Row: the model is the one that the trainer knows, and has been tuned."""
        return pack.has(ADAPTER) and pack.manifest.base_model.package == BASE_MODEL.package

    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """The texts, and examples of WordNet where more are due; nothing is asked of a system."""
        yield from (Question((), text, text) for text in TEXTS[:count])
        if count > len(TEXTS):
            more = bench.material.english[: count - len(TEXTS)]
            yield from (Question((), text, text) for text in more)

    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation]:
        """See Row: nats beyond the base model's, and tokens."""
        model, tokenizer = self._base
        ids = torch.tensor([tokenizer(question.expected, add_special_tokens=False)["input_ids"]])
        plain = _nats(model, ids)
        handles = self._adapter(bench.pack).lora.attach(model)
        tuned = _nats(model, ids)
        for handle in handles:
            handle.remove()
        return [(tuned - plain, ids.shape[1] - 1)]

    @cached_property
    def _base(self) -> tuple[Any, Any]:
        return base_model()

    def _adapter(self, pack: Path) -> LanguageAdapter:
        return LanguageAdapter.open(pack / ADAPTER)


@torch.no_grad()
def _nats(model: Any, ids: Tensor) -> float:
    logits = model(input_ids=ids).logits[0, :-1].float()
    return float(functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
