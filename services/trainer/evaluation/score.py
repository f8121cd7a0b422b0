"""What the replies to one row's questions came to; kept after each chunk, so that a long evaluation can go on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.trainer.evaluation.asking import Question
from services.trainer.evaluation.interval import Observation, figure
from services.trainer.evaluation.judgement import Reply
from services.trainer.evaluation.result import Measured
from services.trainer.evaluation.task import Row
from services.trainer.whole import written_whole

Judged = tuple[Question, Reply, Sequence[Observation | None]]


@dataclass
class Score:
    """Observations of the first questions of a row, in order, one for each metric."""

    observed: list[list[Observation | None]] = field(default_factory=list)
    ends: list[Observation] = field(default_factory=list)
    """For each reply with spans, whether one of them was cut."""
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, found: Sequence[Judged]) -> None:
        """Count the replies to the next questions."""
        replies = [reply for _, reply, _ in found]
        self.observed += [
            [pair and (float(pair[0]), float(pair[1])) for pair in observed] for _, _, observed in found
        ]
        self.ends += [(float(reply.cut > 0), 1.0) for reply in replies if reply.modalities]
        self.failures.update(reply.failure.split(":")[0] for reply in replies if reply.failure)

    def measured(self, row: Row) -> list[Measured]:
        """A figure for each metric of the row."""
        columns = [[observed[place] for observed in self.observed] for place in range(len(row.metrics))]
        return [
            Measured(metric, figure([one for one in column if one is not None]))
            for metric, column in zip(row.metrics, columns, strict=True)
        ]


class Scores:
    """The scores of one pack in a folder, a file a row; what is not resumed begins anew."""

    def __init__(self, folder: Path, is_resumed: bool) -> None:
        self._folder = folder
        self._is_resumed = is_resumed
        folder.mkdir(parents=True, exist_ok=True)

    def of(self, row: Row) -> Score:
        """What was kept of a row."""
        path = self._path(row)
        if not (self._is_resumed and path.is_file()):
            return Score()
        kept = json.loads(path.read_text(encoding="utf-8"))
        observed = [[pair and (pair[0], pair[1]) for pair in each] for each in kept["observed"]]
        return Score(observed, [(cut, one) for cut, one in kept["ends"]], Counter(kept["failures"]))

    def keep(self, row: Row, score: Score) -> None:
        """Write a row's score; a kill leaves the last one."""
        with written_whole(self._path(row)) as unfinished:
            unfinished.write_text(json.dumps(vars(score)), encoding="utf-8")

    def _path(self, row: Row) -> Path:
        return self._folder / f"{row.name.replace(' ', '-').replace('>', '')}.json"
