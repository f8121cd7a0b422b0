"""A row of the evaluation: questions of one kind, and what is counted in their replies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from services.trainer.evaluation.asking import Question
from services.trainer.evaluation.interval import Observation
from services.trainer.evaluation.judgement import Judges, Reply
from services.trainer.evaluation.material import Material

Unit = Literal["share", "decibels", "ratio", "difference", "nats"]


@dataclass(frozen=True)
class Metric:
    """One figure of a row: who judges it, and the target; `chance` is what guessing gives."""

    name: str
    judge: str
    target: float
    unit: Unit = "share"
    at_most: bool = False
    chance: float = 0.0
    must_beat_chance: bool = False


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

    @abstractmethod
    def observe(self, bench: Bench, question: Question, reply: Reply) -> Sequence[Observation | None]:
        """One observation for each metric, None where it does not apply."""
