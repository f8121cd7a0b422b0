"""Encode-side alignment: features of media become embeddings that the frozen language model understands.

NExT-GPT's first stage, in two halves: input projections first aim at the words of a caption, then learn through the
frozen model from what it ought to answer about a medium.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from anygpt.vocabulary import ModalityName
from anygpt.whole import written_whole
from services.trainer.alignment_conditions import distance
from services.trainer.alignment_media import Features, sources
from services.trainer.alignment_model import AlignedModel
from services.trainer.alignment_sequence import TokenSequence, batches, collate
from services.trainer.alignment_setup import Alignment
from services.trainer.alignment_sheets import answered, worded
from services.trainer.alignment_words import WordTargets
from services.trainer.data import dialogues, ideas, world
from services.trainer.data.ideas import Idea, Music, Sound
from services.trainer.data.split import is_held_out
from services.trainer.loop import Run, train
from services.trainer.processes import once
from services.trainer.recipe import Recipe

READ = {"image": 10_000, "video": 1500, "audio": 1500, "steps": 3000}
"""Examples that an input projection is fitted to, and how often."""
DESCRIBED = {"dialogues": 6000, "batch_tokens": 512}
ABOUT_MEDIA = {"name": 5, "detail": 4, "to_music": 4, "described": 1, "name_aloud": 1}
"""Families of dialogues whose answer depends on what a medium shows, and how often each comes."""
ABOUT_SCENES = {"scene_named": 5, "scene_asked": 3}
"""The same for composed scenes."""


def read(recipe: Recipe, alignment: Alignment) -> None:
    """Regress the embeddings of the words of a caption from features of media that show it."""
    features, amounts = Features(sources(recipe), alignment.words), recipe.amount(READ)
    short = replace(recipe, steps=min(amounts["steps"], recipe.steps), minutes=math.inf)
    for modality in features.sources:
        pool = Pool.of(modality, amounts[modality], features, alignment.words)
        run = short.run(f"alignment_{modality}_input", learning_rate=2e-3)
        _fit(run, alignment.model.into[modality], pool)
    keep(recipe, alignment.model, "_input_projection")


def describe(recipe: Recipe, alignment: Alignment) -> None:
    """Train the input projections alone, through the frozen model, on answers about media.

    What is kept lies half way between before and after (a model soup, arXiv 2203.05482): measured on held-out wordings,
    faces are named as after it (18 -> 34 of 36) and rare things as before it (15 of 18; 13 without).
    """
    model = alignment.model
    before = _before(recipe, model.into)
    _described(recipe, alignment, "alignment_describe", seed=9)
    with torch.no_grad():
        for weight, first in zip(model.into.parameters(), before.parameters(), strict=True):
            weight.lerp_(first, 0.5)
    keep(recipe, model, "_input_projection")


def redescribe(recipe: Recipe, alignment: Alignment) -> None:
    """Train the input projections alone once more, through the model that has learned to converse.

    Six minutes of it, for pictures: faces named 87.5 -> 96.9 % of 64, things of scenes 83.3 -> 89.9 %.
    """
    _described(recipe, alignment, "alignment_redescribe", seed=71)
    keep(recipe, alignment.model, "_input_projection")


def keep(recipe: Recipe, model: AlignedModel, ending: str) -> None:
    """Write the trained parts whose names end so into the pack."""
    for name, part in model.parts().items():
        if name.endswith(ending):
            recipe.keep(part, name)


def _before(recipe: Recipe, projections: nn.Module) -> nn.Module:
    """Projections as they were when the stage began: who goes on after its end finds those of its end in the pack."""
    path, before = recipe.folder / "before.safetensors", copy.deepcopy(projections)

    def write() -> None:
        if not (recipe.resume and path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as unfinished:
                save_file(projections.state_dict(), unfinished)

    once(write)
    before.load_state_dict(load_file(path))
    return before


def _fit(run: Run, projection: nn.Module, pool: Pool) -> None:
    """Regress words from features, row by row; errors count against the spread of what is wanted."""
    given, wanted, scale = pool.features, pool.words, pool.words.std()

    def step(_: int) -> Tensor:
        rows = torch.randint(len(given), (64,))
        return distance(projection(given[rows]) / scale, wanted[rows] / scale)

    train(run, projection, step, worded(lambda rows: projection(given[rows]), wanted, pool.captions))


def _described(recipe: Recipe, alignment: Alignment, name: str, seed: int) -> None:
    """Learn answers about media through the frozen model."""
    model, groups = alignment.model, _batches(alignment, recipe.amount(DESCRIBED), seed)
    model.learn(model.into)
    features = Features(sources(recipe), alignment.words)

    def step(number: int) -> Tensor:
        batch = collate(groups[number % len(groups)], pad=0)
        return model.answer_loss(batch, model.hidden(batch, features)[0])

    run = recipe.run(name, learning_rate=6e-4, warmup=10, save_every=25, log_every=5)
    train(run, model, step, answered(alignment, features))


def _batches(alignment: Alignment, amounts: Mapping[str, int], seed: int) -> list[list[TokenSequence]]:
    writer, pick = dialogues.Writer(seed, alignment.talk, held_out=False), random.Random(seed)
    families = alignment.talk.families(ABOUT_MEDIA, ABOUT_SCENES)
    names = pick.choices(list(families), list(families.values()), k=amounts["dialogues"])
    sequences = [alignment.sequencer.sequence(writer.of(name)) for name in names]
    groups = list(batches(sequences, amounts["batch_tokens"]))
    pick.shuffle(groups)
    return groups


@dataclass(frozen=True)
class Pool:
    """Features of media [N, n, width], the words they should become [N, n, model width], and their captions."""

    features: Tensor
    words: Tensor
    captions: list[str]

    @classmethod
    def of(cls, modality: ModalityName, count: int, features: Features, words: WordTargets) -> Pool:
        """So many media of all that a modality may show."""
        captions = [ideas.caption(idea) for idea in shown_in(modality)]
        chosen = [captions[int(place)] for place in torch.randint(len(captions), (count,))]
        drawn = [features(modality, chosen[i : i + 50]) for i in range(0, len(chosen), 50)]
        return cls(torch.cat(drawn), torch.stack([words(modality, caption) for caption in chosen]), chosen)


def shown_in(modality: ModalityName) -> list[Idea]:
    """All that media may show: in a clip a thing may also stay where it is."""
    return [*wanted_of(modality), *(wanted_of("image") if modality == "video" else ())]


def wanted_of(modality: ModalityName) -> list[Idea]:
    """All that the world makes in a modality, but for the combinations that are kept for judging."""
    return [idea for idea in _all_of(modality) if not is_held_out(idea)]


def _all_of(modality: ModalityName) -> list[Idea]:
    if modality == "image":
        return list(world.scenes())
    if modality == "video":
        return list(world.moving_scenes())
    music = [Music(instrument, mood) for instrument in world.INSTRUMENTS for mood in world.MOODS]
    return [*music, *(Sound(name) for name in world.SOUNDS)]
