"""Align the language model with encoders and decoders: `python -m services.trainer.alignment --stage all --minutes 40`.

NExT-GPT's three stages in the order in which its authors ran them: input projections alone, then LoRA, rows and
projections together on dialogues, then output projections alone. What the pack already has is where learning starts.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

import torch
from torch import Tensor, nn

from anygpt.vocabulary import ModalityName
from services.trainer import pack
from services.trainer.alignment_media import Conditions, Features, sources
from services.trainer.alignment_model import AlignedModel, distance
from services.trainer.alignment_report import run_report
from services.trainer.alignment_sequence import TokenSequence, batches, collate
from services.trainer.alignment_setup import Alignment
from services.trainer.alignment_signals import signal
from services.trainer.alignment_words import WordTargets
from services.trainer.data import dialogues, ideas, world
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.loop import Run, train
from services.trainer.recipe import Recipe, main

DIALOGUES = 12_000
BATCH_TOKENS = 512
SYSTEM = "You are a helpful assistant."
SYSTEM_EVERY = 16
"""One dialogue in so many has a system instruction."""
CONDITION_WEIGHT = 0.5
POOL = {"image": 10_000, "video": 1500, "audio": 1500}
"""Examples that an input projection is fitted to."""
READING_STEPS = 3000


def run_reading(recipe: Recipe) -> None:
    """Stage 1: input projections learn to say in words what the recognisers saw."""
    read(recipe, Alignment.open(recipe))


def run_dialogues(recipe: Recipe) -> None:
    """Stage 2: everything learns together from dialogues."""
    converse(recipe, Alignment.open(recipe))


def run_signals(recipe: Recipe) -> None:
    """Stage 3: output projections learn what the finished model's signals mean."""
    signal(recipe, Alignment.open(recipe))


def run_alignment(recipe: Recipe) -> None:
    """All stages, and the manifest."""
    alignment = Alignment.open(recipe)
    for stage in (read, converse, signal):
        stage(recipe, alignment)
    pack.shrink(recipe.pack)
    pack.build_manifest(recipe.pack)


def read(recipe: Recipe, alignment: Alignment) -> None:
    """Regress the embeddings of the words of a caption from features of media that show it."""
    features = Features(sources(recipe), alignment.words)
    for modality in features.sources:
        drawn, targets = _pool(modality, features, alignment.words)
        short = replace(recipe, steps=READING_STEPS, minutes=math.inf)
        run = short.run(f"alignment_{modality}_input", learning_rate=2e-3)
        _fit(run, alignment.model.into[modality], drawn, targets)
    _keep(recipe, alignment.model, "_input_projection")


def converse(recipe: Recipe, alignment: Alignment) -> None:
    """Learn the answers of dialogues, and to give conditions in their signals."""
    model, groups = alignment.model, _batches(alignment)
    features, conditions = Features(sources(recipe), alignment.words), Conditions.of_pack(recipe.pack)

    def step(number: int) -> Tensor:
        batch = collate(groups[number % len(groups)], pad=0)
        states, embeddings = model.hidden(batch, features)
        answers = model.answer_loss(batch, states)
        return answers + CONDITION_WEIGHT * model.condition_loss(batch, states, embeddings, conditions)

    train(recipe.run("alignment", learning_rate=8e-4, warmup=20, save_every=25, log_every=5), model, step)
    _keep(recipe, model, "")


def _keep(recipe: Recipe, model: AlignedModel, ending: str) -> None:
    """Write the trained parts whose names end so into the pack."""
    for name, part in model.parts().items():
        if name.endswith(ending):
            recipe.keep(part, name)


def _fit(run: Run, projection: nn.Module, given: Tensor, wanted: Tensor) -> None:
    """Regress `wanted` from `given`, row by row; errors count against the spread of what is wanted."""
    scale = wanted.std()

    def step(_: int) -> Tensor:
        rows = torch.randint(len(given), (64,))
        return distance(projection(given[rows]) / scale, wanted[rows] / scale)

    train(run, projection, step)


def _batches(alignment: Alignment) -> list[list[TokenSequence]]:
    built = dialogues.build(DIALOGUES, 1, alignment.chat)
    system = [SYSTEM if number % SYSTEM_EVERY == 0 else "" for number in range(len(built))]
    sequences = [alignment.sequencer.sequence(*pair) for pair in zip(built, system, strict=True)]
    groups = list(batches(sequences, BATCH_TOKENS))
    random.Random(0).shuffle(groups)
    return groups


def _pool(modality: ModalityName, features: Features, words: WordTargets) -> tuple[Tensor, Tensor]:
    """Features of media [N, n, width] and the words they should become [N, n, model width]."""
    captions = [ideas.caption(idea) for idea in _wanted(modality)]
    chosen = [captions[int(place)] for place in torch.randint(len(captions), (POOL[modality],))]
    drawn = [features(modality, chosen[i : i + 50]) for i in range(0, len(chosen), 50)]
    return torch.cat(drawn), torch.stack([words(modality, caption) for caption in chosen])


def _wanted(modality: ModalityName) -> list[Idea]:
    if modality == "image":
        return list(world.scenes())
    if modality == "video":
        return list(world.moving_scenes())
    music = [Music(instrument, mood) for instrument in world.INSTRUMENTS for mood in world.MOODS]
    return [*music, *(Sound(name) for name in world.SOUNDS)]


STAGES = {
    "read": run_reading, "converse": run_dialogues, "signal": run_signals, "all": run_alignment, "report": run_report,
}  # fmt: skip

if __name__ == "__main__":
    main(STAGES)
