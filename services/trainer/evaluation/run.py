"""An evaluation from end to end: the system is started on the pack, asked, and judged."""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from anygpt.client import AsyncClient
from anygpt.embedded import embedded
from anygpt.errors import InvalidInput
from anygpt.pack import Pack
from services.trainer.evaluation.asking import Question, ask_all
from services.trainer.evaluation.calibration import calibrations
from services.trainer.evaluation.files import UNDECODABLE
from services.trainer.evaluation.interval import Observation, figure
from services.trainer.evaluation.judgement import Judges, Reply
from services.trainer.evaluation.material import Material
from services.trainer.evaluation.result import Measured, Result
from services.trainer.evaluation.score import Judged, Score, Scores
from services.trainer.evaluation.task import SPANS, Bench, Row

CHUNK = 16
SHOWN, PAIRS_SHOWN = 4, 1
"""Replies that a gallery shows of each row: with twice as many, its page has 13 MB."""


@dataclass(frozen=True)
class Shown:
    """One reply for the gallery."""

    row: str
    question: Question
    reply: Reply
    is_right: bool | None = None
    """What the judges say; None where they give no yes or no."""


@dataclass(frozen=True)
class Plan:
    """How much is asked, and of what."""

    rows: Sequence[Row]
    items: int
    has_gallery: bool = False
    """Whether the first replies of each row are kept, to be shown."""
    minutes: float = math.inf
    """Time for all rows: each has an equal share of what is left, and asks one chunk at least."""
    is_resumed: bool = False
    """Whether the questions that an earlier run has asked of the same pack count."""


@dataclass
class Tally:
    """What is kept of the replies of all rows."""

    measured: list[Measured] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    ends: list[Observation] = field(default_factory=list)
    """For each span that could have ended elsewhere, whether it was cut."""
    failures: Counter[str] = field(default_factory=Counter)

    def add(self, row: Row, score: Score) -> None:
        """Count a row."""
        self.ends += score.ends
        self.failures += score.failures
        self.measured += score.measured(row)

    def show(self, row: Row, found: Sequence[Judged]) -> None:
        """Keep the first replies for the gallery, failures too; what was asked of nobody has nothing to show."""
        kept = PAIRS_SHOWN if row.name.startswith("pair ") else SHOWN
        self.shown += [
            Shown(row.name, question, reply, verdict(row, observed))
            for question, reply, observed in found
            if question.turns
        ][:kept]


def evaluate(pack: Pack, cache: Path, plan: Plan) -> tuple[Result, list[Shown]]:
    """Ask every question of a plan of a pack, of the rows that apply to it; its judges are calibrated first."""
    plan = replace(plan, rows=[row for row in plan.rows if row.applies(pack)])
    if not plan.rows:
        raise InvalidInput(f"{pack.manifest.name} has nothing that these rows ask about", field="--rows")
    bench = Bench(pack.folder, Material(cache), Judges(cache))
    # What a question is made of has to be there: better to learn it now than in an hour.
    for row in plan.rows:
        next(row.questions(bench, 1), None)
    judged = list(calibrations(bench, plan.items))
    with (
        tempfile.TemporaryDirectory(prefix="anygpt-eval-") as data,
        embedded(Path(data), str(pack.folder.resolve())) as address,
    ):
        scores = Scores(cache / "runs" / "evaluation" / pack.digest[:16], plan.is_resumed)
        tally = asyncio.run(_asked(address, bench, plan, scores, _fixed(pack)))
    measured = [*tally.measured, Measured(SPANS, figure(tally.ends))]
    result = Result(pack.manifest.name, pack.digest, measured, judged, dict(tally.failures))
    return result, tally.shown


def _fixed(pack: Pack) -> frozenset[str]:
    """Modalities whose spans have one length."""
    modalities = pack.manifest.modalities.items()
    return frozenset(name for name, entry in modalities if entry.output and entry.output.has_one_length)


async def _asked(address: str, bench: Bench, plan: Plan, scores: Scores, fixed: AbstractSet[str]) -> Tally:
    tally, end = Tally(), time.monotonic() + 60 * plan.minutes
    async with AsyncClient(address) as client:
        asker = Asker(client, bench, scores, plan.items, fixed)
        for place, row in enumerate(plan.rows):
            share = (end - time.monotonic()) / (len(plan.rows) - place)
            score, found = await asker.ask(row, share)
            tally.add(row, score)
            if plan.has_gallery:
                tally.show(row, found if len(found) == len(score.observed) else await asker.first(row))
    return tally


@dataclass(frozen=True)
class Asker:
    """Asks the questions of a row, chunk after chunk; while one is asked, the one before is judged."""

    client: AsyncClient
    bench: Bench
    scores: Scores
    items: int
    fixed: AbstractSet[str] = frozenset()
    """Modalities whose spans have one length."""

    async def ask(self, row: Row, seconds: float) -> tuple[Score, list[Judged]]:
        """Ask and judge until there are no more or the time is over; the score counts what was asked before."""
        score, found, end = self.scores.of(row), list[Judged](), time.monotonic() + seconds
        asked, judging = len(score.observed), _nothing()
        questions = islice(row.questions(self.bench, self.items), asked, None)
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task(row.name, total=self.items, completed=asked)
            while chunk := await asyncio.to_thread(lambda: list(islice(questions, CHUNK))):
                replies = await ask_all(self.client, chunk, asked, lambda: bar.advance(task))
                asked += len(chunk)
                found += self._count(row, score, await judging)
                judging = asyncio.ensure_future(asyncio.to_thread(_judged, self.bench, row, replies))
                if time.monotonic() > end:
                    break
            found += self._count(row, score, await judging)
        return score, found

    async def first(self, row: Row) -> list[Judged]:
        """The first replies again, when an earlier run had them: a gallery shows them, nothing counts them twice."""
        chunk = list(islice(row.questions(self.bench, self.items), SHOWN))
        return _judged(self.bench, row, await ask_all(self.client, chunk, 0, lambda: None))

    def _count(self, row: Row, score: Score, judged: list[Judged]) -> list[Judged]:
        score.add(row, judged, self.fixed)
        self.scores.keep(row, score)
        return judged


def _nothing() -> asyncio.Future[list[Judged]]:
    none: asyncio.Future[list[Judged]] = asyncio.get_running_loop().create_future()
    none.set_result([])
    return none


def verdict(row: Row, observed: Sequence[Observation | None]) -> bool | None:
    """Whether an answer is right in all that was observed of it, where that is a matter of yes or no."""
    seen = [one for one in observed if one is not None]
    if not seen or any(metric.unit != "share" for metric in row.metrics):
        return None
    return all(right == of for right, of in seen)


def _judged(bench: Bench, row: Row, replies: Sequence[tuple[Question, Reply]]) -> list[Judged]:
    return [(question, *_observed(bench, row, question, reply)) for question, reply in replies]


def _observed(
    bench: Bench, row: Row, question: Question, reply: Reply
) -> tuple[Reply, Sequence[Observation | None]]:
    """What the judges observe; media that they cannot take up are a failure of the reply."""
    try:
        return reply, row.observe(bench, question, reply)
    except UNDECODABLE as error:
        if reply.failure:
            raise
        failed = Reply(failure=f"UNDECODABLE: {error}")
        return failed, row.observe(bench, question, failed)
