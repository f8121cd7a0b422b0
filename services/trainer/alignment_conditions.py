"""How far projected signals are from the conditions that they stand for.

NExT-GPT's distance to the caption's condition, and beside it a choice: the condition must be nearer to its own caption
than to captions that differ in one word. Distance alone is content with an average colour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from anygpt.vocabulary import ModalityName
from anygpt_models.layout import MOST_THINGS, nearness
from services.trainer.data import composed, ideas, world
from services.trainer.data.composed import Composition, Thing
from services.trainer.data.messages import media
from services.trainer.data.split import is_held_out
from services.trainer.data.world import Scene

CHOICE_WEIGHT, TEMPERATURE = 0.3, 0.05
LAYOUT_WEIGHT, FACT_TEMPERATURE = 1.0, 0.15
OTHER_KINDS = 12
"""Other things on the same background that a scene has to be told from."""
SAMPLE = 512
"""Captions of a modality from which its middle and its spread are taken."""

Wanted = Callable[[ModalityName, Sequence[str]], Tensor]
"""Modality, captions -> conditions [captions, queries, width]."""


@dataclass(frozen=True)
class Spread:
    """The middle [queries, width] of a modality's conditions, and how far they lie from it."""

    middle: Tensor
    scale: Tensor


class ConditionLoss:
    """Distance in units of a modality's own spread, and the choice among neighbours."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._spreads: dict[ModalityName, Spread] = {}

    def __call__(self, modality: ModalityName, projected: Tensor, captions: Sequence[str]) -> Tensor:
        """Projected signals [N, queries, width] and what each stands for -> a scalar.

        Those of pictures that may be scenes have the queries of each thing, then a vector for each thing's layout.
        """
        single = self._spread(modality).middle.shape[0]
        if projected.shape[1] == single:
            return self._alone(modality, projected, captions)
        rows: list[tuple[int, int]] = []
        shown: list[str] = []
        layouts: list[Thing | None] = []
        for row, caption in enumerate(captions):
            idea = ideas.meaning(caption)
            things = idea.things if isinstance(idea, Composition) else ()
            rows += [(row, place) for place in range(len(things) or 1)]
            shown += composed.each_alone(idea) if isinstance(idea, Composition) else [caption]
            layouts += [*things, *[None] * (MOST_THINGS - len(things))]
        told, where = projected.split([MOST_THINGS * single, MOST_THINGS], dim=1)
        each = told.unflatten(1, (MOST_THINGS, single))[tuple(torch.tensor(rows).T)]
        return self._alone(modality, each, shown) + LAYOUT_WEIGHT * layout_loss(where, layouts)

    def _alone(self, modality: ModalityName, projected: Tensor, captions: Sequence[str]) -> Tensor:
        spread = self._spread(modality)
        places = {caption: place for place, caption in enumerate(dict.fromkeys(captions))}
        for caption in neighbours(captions):
            places.setdefault(caption, len(places))
        known = (self._wanted(modality, list(places)) - spread.middle) / spread.scale
        near = (projected.float() - spread.middle) / spread.scale
        own = torch.tensor([places[caption] for caption in captions])
        return distance(near, known[own]) + CHOICE_WEIGHT * choice_loss(near, known, own)

    def _spread(self, modality: ModalityName) -> Spread:
        if modality not in self._spreads:
            captions = captions_of(modality)
            some = self._wanted(modality, captions[:: -(-len(captions) // SAMPLE)])
            self._spreads[modality] = Spread(some.mean(0), (some - some.mean(0)).std())
        return self._spreads[modality]


def layout_loss(projected: Tensor, things: Sequence[Thing | None]) -> Tensor:
    """How far vectors [N, K, 256] are from the layouts of N K things, and how hard their facts are to tell apart."""
    layout, vectors = composed.numbered(things), projected.flatten(0, 1)
    loss = functional.mse_loss(vectors.float(), layout.vectors())
    if layout.there.any():
        facts = (layout.places, layout.sizes, layout.tints)
        for near, fact in zip(nearness(vectors[layout.there]), facts, strict=True):
            loss = loss + CHOICE_WEIGHT * functional.cross_entropy(
                near / FACT_TEMPERATURE, fact[layout.there]
            )
    return loss


def distance(projected: Tensor, target: Tensor) -> Tensor:
    """Mean squared error plus cosine distance of condition vectors."""
    projected, target = projected.float(), target.float()
    return (
        functional.mse_loss(projected, target)
        + (1 - functional.cosine_similarity(projected, target, dim=-1)).mean()
    )


def choice_loss(projected: Tensor, known: Tensor, own: Tensor) -> Tensor:
    """Cross-entropy of finding one's own condition, `known[own]`, among all that are known."""
    near = functional.normalize(projected.flatten(1), dim=1)
    return functional.cross_entropy(near @ functional.normalize(known.flatten(1), dim=1).T / TEMPERATURE, own)


def neighbours(captions: Sequence[str]) -> list[str]:
    """Captions that differ in one respect: all colours and motions, some other things; all there is to hear.

    None is of a combination that is kept for judging: what is only ever a rival would be learned as never meant.
    """
    known = ideas.by_caption()
    near = (other for caption in captions for other in _near(known[caption]))
    return [ideas.caption(other) for other in near if not is_held_out(other)]


def _near(idea: ideas.Idea) -> list[ideas.Idea]:
    if not isinstance(idea, Scene):
        return [ideas.by_caption()[caption] for caption in captions_of("audio")]
    kinds = world.kinds()
    near: list[ideas.Idea] = [replace(idea, colour=colour) for colour in world.COLOURS]
    near += [replace(idea, motion=motion) for motion in world.MOTIONS if idea.motion]
    near += [replace(idea, kind=kinds[int(n)]) for n in torch.randint(len(kinds), (OTHER_KINDS,))]
    return near


@cache
def captions_of(modality: ModalityName) -> list[str]:
    """Every caption of the world in one modality."""
    return [caption for caption, idea in ideas.by_caption().items() if media(idea).modality == modality]
