"""The stages that align the language model with encoders and decoders.

NExT-GPT's three stages in the order in which its authors ran them: input projections alone, then LoRA, rows and
projections together on dialogues, then output projections alone. Before these, input projections learn once more. What
the pack already has is where learning starts.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import torch
from torch import Tensor

from services.trainer.alignment_codes import run_codes
from services.trainer.alignment_conditions import ConditionLoss
from services.trainer.alignment_media import Conditions, Features, sources
from services.trainer.alignment_reading import describe, keep, read, redescribe
from services.trainer.alignment_sequence import TokenSequence, batches, collate
from services.trainer.alignment_setup import Alignment
from services.trainer.alignment_sheets import answered
from services.trainer.alignment_signals import signal
from services.trainer.data import dialogues, english
from services.trainer.data.messages import Dialogue
from services.trainer.data.split import shows_held_out
from services.trainer.loop import train
from services.trainer.mosit import mini
from services.trainer.recipe import Recipe

AMOUNTS = {"dialogues": 12_000, "records": 4000, "batch_tokens": 512, "english": 2}
"""Dialogues, beginnings of mini-MosIT; tokens and plain texts of a step."""
MOST_ROUNDS = 3
"""Rounds after which a dialogue of mini-MosIT is cut: a later one costs more, and teaches little else."""
SYSTEM = "You are a helpful assistant."
SYSTEM_EVERY = 16
"""One dialogue in so many has a system instruction."""
CONDITION_WEIGHT, ENGLISH_WEIGHT = 0.5, 1.0


def run_reading(recipe: Recipe) -> None:
    """Stage 1: input projections learn to say in words what the recognisers saw."""
    read(recipe, Alignment.open(recipe))


def run_describing(recipe: Recipe) -> None:
    """Stage 1, second half: input projections learn to be understood by the frozen model."""
    describe(recipe, Alignment.open(recipe))


def run_dialogues(recipe: Recipe) -> None:
    """Stage 2: everything learns together from dialogues."""
    converse(recipe, Alignment.open(recipe))


def run_describing_again(recipe: Recipe) -> None:
    """Stage 2, second half: input projections learn to be understood by the model that converses."""
    redescribe(recipe, Alignment.open(recipe))


def run_signals(recipe: Recipe) -> None:
    """Stage 3: output projections learn what the finished model's signals mean."""
    signal(recipe, Alignment.open(recipe))


def converse(recipe: Recipe, alignment: Alignment) -> None:
    """Learn the answers of dialogues, to give conditions in their signals, and to leave plain English as it was.

    Input projections keep what `describe` taught them: at this rate they would lose it.
    """
    amounts = recipe.amount(AMOUNTS)
    model, groups = alignment.model, _batches(alignment, amounts)
    model.learn(model.adapter, model.out)
    features = Features(sources(recipe), alignment.words)
    loss = ConditionLoss(Conditions.of_pack(recipe.pack))
    with model.adapter.lora.left_out():
        texts = english.texts(recipe.cache, english.sampled(model.base, alignment.sequencer.tokenizer))

    def step(number: int) -> Tensor:
        batch = collate(groups[number % len(groups)], pad=0)
        states, embeddings = model.hidden(batch, features)
        answers = model.answer_loss(batch, states)
        conditions = model.condition_loss(batch, states, embeddings, loss)
        plain = texts[torch.randint(len(texts), (amounts["english"],))]
        return answers + CONDITION_WEIGHT * conditions + ENGLISH_WEIGHT * model.drift_loss(plain)

    run = recipe.run("alignment", learning_rate=8e-4, warmup=20, save_every=25, log_every=5)
    train(run, model, step, answered(alignment, features))
    keep(recipe, model, "")


def _batches(alignment: Alignment, amounts: Mapping[str, int]) -> list[list[TokenSequence]]:
    built = [*dialogues.build(amounts["dialogues"], 1, alignment.talk), *switching(amounts["records"])]
    system = [SYSTEM if number % SYSTEM_EVERY == 0 else "" for number in range(len(built))]
    sequences = [alignment.sequencer.sequence(*pair) for pair in zip(built, system, strict=True)]
    groups = list(batches(sequences, amounts["batch_tokens"]))
    random.Random(0).shuffle(groups)
    return groups


def switching(count: int) -> list[Dialogue]:
    """Beginnings of mini-MosIT's dialogues, but for those that show what is kept for judging."""
    pick = random.Random(3)
    cut = [list(mini.dialogues(record))[pick.randrange(MOST_ROUNDS)] for record in mini.build("train", count)]
    return [dialogue for dialogue in cut if not shows_held_out(dialogue)]


STAGES = {
    "read": run_reading, "describe": run_describing, "converse": run_dialogues,
    "redescribe": run_describing_again, "signal": run_signals, "codes": run_codes,
}  # fmt: skip
