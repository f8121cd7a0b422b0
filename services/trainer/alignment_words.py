"""What the frozen language model already understands, as a start for everything it has to learn.

A speech code begins as the token that is spelled as it is; a picture is first projected onto the words that name it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from anygpt.topology import SPEECH
from anygpt.vocabulary import ModalityName, Vocabulary
from anygpt_models.layout import PLACES, SIZES, TINTS, Layout
from services.trainer.data import world
from services.trainer.data.composed import Composition, numbered
from services.trainer.data.ideas import Idea, Music, Sound, meaning
from services.trainer.data.world import Scene
from services.trainer.pack import LAYOUT_LENGTH

Tokens = Callable[[str], list[int]]

LENGTHS: Mapping[ModalityName, int] = {"image": 4, "video": 8, "audio": 8}
"""Embeddings that a media part has in the prompt; of a scene each thing has those of a picture and four more."""
STILL = "still"
"""Stands for the motion of a thing that stays where it is."""
_BRACKET_WORDS = {"image": " picture", "video": " video", "audio": " music", "speech": " voice"}


class WordTargets:
    """Captions -> the embeddings an input projection should come near to."""

    def __init__(self, tokens: Tokens, embedding: Tensor) -> None:
        self.tokens = tokens
        self.embedding = embedding.float()

    def __call__(self, modality: ModalityName, caption: str) -> Tensor:
        """A canonical caption -> [length(modality, caption), width]."""
        return torch.stack(self._vectors(modality, meaning(caption)))

    def _vectors(self, modality: ModalityName, idea: Idea) -> list[Tensor]:
        match idea:
            case Music(instrument, mood):
                return 2 * [*self._halves(mood)[:1], *self._halves(instrument), *self._halves("music")[:1]]
            case Sound(name):
                heard = world.sound_caption(name).split()[-1]
                return 2 * [*self._halves("sound")[:1], *self._halves("of")[:1], *self._halves(heard)]
            case Scene():
                noun = self._halves(idea.kind)
                colour, ground = self._halves(idea.colour)[:1], self._halves("background")[:1]
                if modality == "image":
                    return [*noun, *colour, *ground]
                motion = self._halves(world.MOTIONS.get(idea.motion, STILL))
                return [*noun, *motion, *self._halves("on")[:1], *self._halves("a")[:1], *colour, *ground]
            case Composition():
                alone = [self._vectors(modality, Scene(thing.kind, idea.colour)) for thing in idea.things]
                where = self.layouts(numbered(idea.things))
                return [vector for pair in zip(alone, where, strict=True) for part in pair for vector in part]

    def layouts(self, layout: Layout) -> Tensor:
        """Layouts [N] -> the embeddings [N, 4, width] of size, tint and place that vectors of them should become."""
        sizes, tints, places = (
            [name or "medium" for name in SIZES],
            ["plain", *TINTS],
            list(PLACES),
        )
        rows = zip(layout.sizes.tolist(), layout.tints.tolist(), layout.places.tolist(), strict=True)
        return torch.stack([
            torch.stack([
                self._halves(sizes[size])[0], self._halves(tints[tint])[0],
                *self._halves(places[place].split("the ")[1]),
            ])
            for size, tint, place in rows
        ])  # fmt: skip

    def _halves(self, words: str) -> tuple[Tensor, Tensor]:
        """The tokens of some words as two vectors: the first half and the second, or the one twice."""
        vectors = self.embedding[self.tokens(f" {words}")]
        middle = (len(vectors) + 1) // 2
        first = vectors[:middle].mean(0)
        return first, vectors[middle:].mean(0) if len(vectors) > 1 else first


def length(modality: ModalityName, caption: str) -> int:
    """How many embeddings a medium has in the prompt, by what it shows."""
    idea = meaning(caption)
    if isinstance(idea, Composition):
        return len(idea.things) * (LENGTHS[modality] + LAYOUT_LENGTH)
    return LENGTHS[modality]


def first_rows(vocabulary: Vocabulary, tokens: Tokens, embedding: Tensor) -> tuple[Tensor, Tensor]:
    """Rows to start from for all but speech codes, [new tokens - codes, width] for input and for output."""
    embedding = embedding.float()
    norm = embedding.norm(dim=1).mean()
    generator = torch.Generator(embedding.device).manual_seed(0)
    codes = vocabulary.codes[SPEECH]
    shape = (vocabulary.size - vocabulary.text_size - codes.count, embedding.shape[1])
    noise = torch.randn(shape, generator=generator, device=embedding.device) * 0.3 * norm / shape[1] ** 0.5
    into, out = noise.clone(), embedding.mean(0) + 0.1 * noise
    for name, word in _BRACKET_WORDS.items():
        for first, count in _runs(vocabulary, name):
            place = first - vocabulary.text_size - (codes.count if first > codes.first else 0)
            into[place : place + count] += embedding[tokens(word)].mean(0)
    return into, out


def _runs(vocabulary: Vocabulary, name: str) -> list[tuple[int, int]]:
    from anygpt.topology import MODALITIES

    modality = MODALITIES[name]
    runs = [(vocabulary.brackets[modality].begin, 2)]
    if modality in vocabulary.signals:
        runs.append((vocabulary.signals[modality].first, vocabulary.signals[modality].count))
    return runs
