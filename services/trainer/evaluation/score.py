"""What the replies to one row's questions came to; kept after each chunk, so that a long evaluation can go on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from pathlib import Path

from anygpt.whole import write_whole
from services.trainer.evaluation.asking import Question
from services.trainer.evaluation.interval import Figure, Observation, best_guess, figure
from services.trainer.evaluation.judgement import Reply
from services.trainer.evaluation.result import Measured
from services.trainer.evaluation.task import Row

Judged = tuple[Question, Reply, Sequence[Observation | None]]
SOURCES = ("evaluation", "data", "mosit")
"""Packages below the trainer that hold what is asked and what judges."""


@dataclass
class Score:
    """Observations of the first questions of a row, in order, one for each metric."""

    observed: list[list[Observation | None]] = field(default_factory=list)
    truths: list[list[str]] = field(default_factory=list)
    """For each question what is true, one for each metric; empty where guessing has no meaning."""
    ends: list[Observation] = field(default_factory=list)
    """For each span that could have ended elsewhere, whether it was cut."""
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, found: Sequence[Judged], fixed: AbstractSet[str] = frozenset()) -> None:
        """Count the replies to the next questions; spans of `fixed` modalities have one length only."""
        replies = [reply for _, reply, _ in found]
        self.truths += [[*row.truths(question)] for question, _, _ in found]
        self.observed += [
            [pair and (float(pair[0]), float(pair[1])) for pair in observed] for _, _, observed in found
        ]
        self.ends += [
            (float(cut), 1.0)
            for reply in replies
            for modality, cut in zip(reply.modalities, reply.cut, strict=True)
            if modality not in fixed
        ]
        self.failures.update(reply.failure.split(":")[0] for reply in replies if reply.failure)

    def measured(self, row: Row) -> list[Measured]:
        """A figure for each metric of the row, and what guessing would have come to."""
        return [
            Measured(replace(metric, chance=self._chance(place, metric.chance)), self._figure(place))
            for place, metric in enumerate(row.metrics)
        ]

    def _figure(self, place: int) -> Figure:
        column = [observed[place] for observed in self.observed]
        return figure([one for one in column if one is not None])

    def _chance(self, place: int, uniform: float) -> float:
        """Of a guess among all values, or of the one answer that is right most often: what comes to more."""
        return max(uniform, best_guess([truths[place] for truths in self.truths if truths]))


class Scores:
    """The scores of one pack by the present questions and judges, a file a row; what is not resumed begins anew."""

    def __init__(self, folder: Path, is_resumed: bool) -> None:
        self._folder = folder / _fingerprint()
        self._is_resumed = is_resumed
        self._folder.mkdir(parents=True, exist_ok=True)

    def of(self, row: Row) -> Score:
        """What was kept of a row."""
        path = self._path(row)
        if not (self._is_resumed and path.is_file()):
            return Score()
        kept = json.loads(path.read_text(encoding="utf-8"))
        observed = [[pair and (pair[0], pair[1]) for pair in each] for each in kept["observed"]]
        ends = [(cut, one) for cut, one in kept["ends"]]
        return Score(observed, kept["truths"], ends, Counter(kept["failures"]))

    def keep(self, row: Row, score: Score) -> None:
        """Write a row's score; a kill leaves the last one, and so does a quick look that asks less than it has."""
        path = self._path(row)
        if self._is_resumed or len(score.observed) >= _count(path):
            write_whole(path, json.dumps(vars(score)))

    def _path(self, row: Row) -> Path:
        return self._folder / f"{row.name.replace(' ', '-').replace('>', '')}.json"


def _count(path: Path) -> int:
    return len(json.loads(path.read_text(encoding="utf-8"))["observed"]) if path.is_file() else 0


def _fingerprint() -> str:
    """What tells one set of questions and judges from another: their sources."""
    trainer, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for name in SOURCES for path in (trainer / name).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
