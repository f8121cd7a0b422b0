"""A row of the evaluation: questions of one kind, and what is counted in their replies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anygpt.pack import Pack
from services.trainer.evaluation.asking import Question
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import Judges, Reply
from services.trainer.evaluation.material import Material

Unit = Literal["share", "decibels", "ratio", "difference", "nats"]


@dataclass(frozen=True)
class Metric:
    """One figure of a row: who judges it, and its target, or that it has to beat `chance`, as guessing gives it."""

    name: str
    judge: str
    target: float = 0.0
    unit: Unit = "share"
    at_most: bool = False
    chance: float = 0.0
    must_beat_chance: bool = False


SPANS = Metric(
    "ends every span by itself: spans that the grammar had to close", "the grammar", 0.02, at_most=True
)


@dataclass(frozen=True)
class Bench:
    """What every row is given."""

    pack: Path
    material: Material
    judges: Judges


class Row(ABC):
    """One row; it knows nothing of how questions reach a system."""

    name: str
    metrics: tuple[Metric, ...]

    @abstractmethod
    def questions(self, bench: Bench, count: int) -> Iterator[Question]:
        """`count` questions, made as they are taken; the first of many are those of few."""

    def truths(self, question: Question) -> Sequence[str]:
        """What is true, for each metric that guesses could reach; nothing where they could not."""
        return ()

    def applies(self, pack: Pack) -> bool:
        """Whether a pack has the parts that the row looks into."""
        return True

    @abstractmethod
    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation | None]:
        """One observation for each metric, None where it does not apply."""
