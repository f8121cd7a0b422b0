"""An evaluation from end to end: the system is started on the pack, asked, and judged."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from anygpt.client import AsyncClient
from anygpt.embedded import embedded
from anygpt.pack import Pack
from services.trainer.evaluation.asking import Question, ask_all
from services.trainer.evaluation.calibration import calibrations
from services.trainer.evaluation.interval import Observation, figure
from services.trainer.evaluation.judgement import Judges, Reply
from services.trainer.evaluation.material import Material
from services.trainer.evaluation.result import Measured, Result
from services.trainer.evaluation.task import Bench, Metric, Row

SPANS = Metric(
    "ends every span by itself: spans that the grammar had to close", "the grammar", 0.02, at_most=True
)


@dataclass(frozen=True)
class Shown:
    """One reply for the gallery."""

    row: str
    question: Question
    reply: Reply


@dataclass(frozen=True)
class Plan:
    """How much is asked, and of what."""

    rows: Sequence[Row]
    items: int
    kept: int = 0
    """Replies of each row that a gallery shows."""


def evaluate(pack: Pack, cache: Path, plan: Plan) -> tuple[Result, list[Shown]]:
    """Ask every question of a plan of a pack; its judges are calibrated first."""
    bench = Bench(pack.folder, Material(cache), Judges(cache))
    judged = list(calibrations(bench, plan.items))
    with (
        tempfile.TemporaryDirectory(prefix="anygpt-eval-") as data,
        embedded(Path(data), str(pack.folder.resolve())) as address,
    ):
        measured, replies = asyncio.run(_asked(address, bench, plan))
    failures = Counter(shown.reply.failure.split(":")[0] for shown in replies if shown.reply.failure)
    result = Result(pack.manifest.name, pack.digest, measured, judged, dict(failures))
    return result, _kept(replies, plan.kept)


async def _asked(address: str, bench: Bench, plan: Plan) -> tuple[list[Measured], list[Shown]]:
    measured: list[Measured] = []
    replies: list[Shown] = []
    async with AsyncClient(address) as client:
        for row in plan.rows:
            found = await _row(client, bench, row, plan.items)
            replies += [Shown(row.name, *pair) for pair in found]
            measured += await asyncio.to_thread(_measured, bench, row, found)
    ends = [(float(shown.reply.cut > 0), 1.0) for shown in replies if shown.reply.modalities]
    return [*measured, Measured(SPANS, figure(ends))], replies


async def _row(client: AsyncClient, bench: Bench, row: Row, count: int) -> list[tuple[Question, Reply]]:
    questions = await asyncio.to_thread(row.questions, bench, count)
    asked = [question for question in questions if question.turns]
    if not asked:
        return [(question, Reply()) for question in questions]
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task(row.name, total=len(asked))
        return await ask_all(client, asked, lambda: bar.advance(task))


def _measured(bench: Bench, row: Row, found: Sequence[tuple[Question, Reply]]) -> list[Measured]:
    observed: list[list[Observation]] = [[] for _ in row.metrics]
    for question, reply in found:
        for column, one in zip(observed, row.observe(bench, question, reply), strict=True):
            if one is not None:
                column.append(one)
    return [Measured(metric, figure(column)) for metric, column in zip(row.metrics, observed, strict=True)]


def _kept(replies: Sequence[Shown], count: int) -> list[Shown]:
    seen: Counter[str] = Counter()
    found = []
    for shown in replies:
        if shown.reply.modalities and seen[shown.row] < count:
            seen[shown.row] += 1
            found.append(shown)
    return found
