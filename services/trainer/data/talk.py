"""What people say in dialogues: ordinary exchanges, sentences to speak and to hear, and rows of any words."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from services.trainer.data.chat import Exchange
from services.trainer.data.sentences import Corpus, build_sentences, row

MOST_WORDS = 10
"""Longer sentences are not said in one breath."""


@dataclass(frozen=True)
class Talk:
    """Exchanges, sentences apart for learning and for judging, and words, the most frequent first."""

    chat: Sequence[Exchange]
    corpus: Corpus
    words: Sequence[str]
    scenes: bool = False
    """Whether there is talk about scenes of several things, which not every pack can see and draw."""

    @classmethod
    def of(cls, chat: Sequence[Exchange], words: Sequence[str], scenes: bool = False) -> Talk:
        """With the sentences that speech is learned from and judged by."""
        return cls(chat, build_sentences(words), words, scenes)

    def families(self, plain: Mapping[str, float], of_scenes: Mapping[str, float]) -> dict[str, float]:
        """How often each family of dialogues comes, with those of scenes where there is talk about them."""
        return {**plain, **of_scenes} if self.scenes else dict(plain)

    @cached_property
    def kept_back(self) -> frozenset[str]:
        """Sentences that are never trained on."""
        return frozenset(self.corpus.held_out)

    def sentences(self, held_out: bool) -> list[str]:
        """Those to say, for training or for judging."""
        found = self.corpus.held_out if held_out else self.corpus.train
        return [sentence for sentence in found if len(sentence.split()) <= MOST_WORDS]

    def row(self, pick: random.Random) -> str:
        """Words by their frequency, without a sense."""
        return row(pick, self.words, (2, 8))
