"""The outcome of an evaluation: figures against targets, kept as JSON and as a page of Markdown."""

from __future__ import annotations

import json
import math
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from anygpt.errors import InvalidInput
from anygpt.whole import write_whole
from services.trainer.evaluation.calibration import Calibration
from services.trainer.evaluation.interval import Figure, beats_chance
from services.trainer.evaluation.task import SPANS, Metric, Unit

MARKDOWN, JSON = "EVAL.md", "EVAL.json"
HEADER = ("task", "judge", "figure", "95 % interval", "items", "target", "reached")


@dataclass(frozen=True)
class Measured:
    """A metric and its figure."""

    metric: Metric
    figure: Figure

    @property
    def is_reached(self) -> bool:
        """Whether the target is met."""
        if self.metric.must_beat_chance:
            return beats_chance(self.figure, self.metric.chance)
        if self.metric.at_most:
            return self.figure.value <= self.metric.target
        return self.figure.value >= self.metric.target


@dataclass(frozen=True)
class Beside:
    """What another pack came to, such as the same one by another path."""

    pack: str
    sha256: str
    figures: Mapping[str, str]
    """Name of a metric -> its figure, and of how many items."""

    @classmethod
    def read(cls, folder: Path) -> Beside:
        """From the EVAL.json of a pack. Raises InvalidInput when it has none, or one that cannot be read."""
        kept = Kept.read(folder)
        if kept is None:
            raise InvalidInput(f"{folder.name!r} has no {JSON}: evaluate it first", field="--beside")
        figures = {row.name: f"{_written(row.value, row.unit)} of {row.count}" for row in kept.rows}
        return cls(kept.pack, kept.sha256, figures)


def _asked(counts: Iterable[tuple[str, int]]) -> Counter[str]:
    """How much was asked of each row: what only some replies have, such as places or spans, is counted as it comes."""
    found = Counter[str]()
    for name, count in counts:
        if name != SPANS.name:
            row = name.partition(":")[0]
            found[row] = max(found[row], count)
    return found


@dataclass(frozen=True)
class KeptRow:
    """A figure as it is kept."""

    name: str
    value: float | None
    unit: Unit
    count: int


@dataclass(frozen=True)
class Kept:
    """What an EVAL.json says that a later one goes by."""

    pack: str
    sha256: str
    rows: list[KeptRow]
    note: str = ""
    beside: Beside | None = None

    @classmethod
    def read(cls, folder: Path) -> Kept | None:
        """From a folder; None where there is none. Raises InvalidInput where it cannot be read."""
        path = folder / JSON
        if not path.is_file():
            return None
        try:
            found: Kept = TypeAdapter(cls).validate_json(path.read_bytes())
        except ValidationError as error:
            raise InvalidInput(f"{folder.name}/{JSON} is malformed: {error}", field=JSON) from error
        return found


@dataclass(frozen=True)
class Result:
    """Everything that one run found out about a pack."""

    pack: str
    digest: str
    measured: Sequence[Measured]
    calibrations: Sequence[Calibration]
    failures: dict[str, int]
    """Replies that failed, by reason."""
    note: str = ""
    """What a reader has to know of how this pack came about."""
    beside: Beside | None = None
    """A pack whose figures are printed in a column of their own."""

    def after(self, kept: Kept | None) -> Result:
        """With the note and the column of an earlier evaluation of the same pack, where there is nothing newer."""
        if kept is None or kept.sha256 != self.digest:
            return self
        return replace(self, note=self.note or kept.note, beside=self.beside or kept.beside)

    def is_less_than(self, kept: Kept | None) -> bool:
        """Whether an earlier evaluation of the same pack asked more, of any row."""
        if kept is None or kept.sha256 != self.digest:
            return False
        counts = _asked((one.metric.name, one.figure.count) for one in self.measured)
        earlier = _asked((row.name, row.count) for row in kept.rows)
        return any(counts[name] < count for name, count in earlier.items())

    def write(self, folder: Path) -> None:
        """Write EVAL.json and EVAL.md into a folder, made where it is not there; each whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": machine(),
            "pack": self.pack,
            "sha256": self.digest,
            "note": self.note,
        }
        rows = [
            asdict(one.metric) | _plain(one.figure) | {"reached": one.is_reached} for one in self.measured
        ]
        document = facts | {
            "rows": rows, "judges": [_told(one) for one in self.calibrations], "failures": self.failures,
            "beside": asdict(self.beside) if self.beside else None,
        }  # fmt: skip
        write_whole(folder / JSON, json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_whole(folder / MARKDOWN, self._page(facts))

    def _page(self, facts: dict[str, str]) -> str:
        reached = sum(one.is_reached for one in self.measured)
        lines = [
            f"# Evaluation of {self.pack}", "",
            f"{facts['date']}, on {facts['machine']}; manifest sha256 `{self.digest}`.",
            f"{reached} of {len(self.measured)} targets are reached. Questions go through the whole system, but for "
            "those of image codes and of text alone, which ask the parts. They are about the combinations that "
            "`data/split.py` keeps apart, in wordings that `data/phrases.py` keeps apart where a request has six of "
            "them or more; no judge shares a weight with the pack. What is made of words is asked for as people do, "
            "so the model has to choose the modality too; pairs are asked with `want`. Chance is the share that the "
            "one best answer to all questions of the row would get.", "",
            *([self.note, ""] if self.note else []),
            *self._about_beside(),
            *_markdown(self._header, self._rows()), "",
            "## The judges themselves", "",
            "Each on real media of held-out combinations, no medium twice, and on the same media with the truths "
            "shuffled.", "",
            *_markdown(("judge", "real", "shuffled"), [_judge(one) for one in self.calibrations]), "",
        ]  # fmt: skip
        if self.failures:
            lines += [
                "Replies that failed: " + ", ".join(f"{n} {why}" for why, n in self.failures.items()) + ".",
                "",
            ]
        return "\n".join(lines)

    @property
    def _header(self) -> Sequence[str]:
        return (*HEADER, self.beside.pack) if self.beside else HEADER

    def _rows(self) -> list[Sequence[str]]:
        if self.beside is None:
            return [cells(one) for one in self.measured]
        return [(*cells(one), self.beside.figures.get(one.metric.name, "-")) for one in self.measured]

    def _about_beside(self) -> list[str]:
        if self.beside is None:
            return []
        return [f"The last column is of the pack {self.beside.pack}, sha256 `{self.beside.sha256}`.", ""]

    def tables(self) -> list[Table]:
        """The same for a terminal."""
        found = Table(*self._header, title=f"{self.pack}, sha256 {self.digest[:12]}")
        for one, row in zip(self.measured, self._rows(), strict=True):
            found.add_row(*row, style="" if one.is_reached else "yellow")
        judges = Table("judge", "real", "shuffled", title="the judges themselves")
        for calibration in self.calibrations:
            judges.add_row(*_judge(calibration))
        return [found, judges]


def cells(one: Measured) -> tuple[str, ...]:
    """A row as text."""
    metric, found = one.metric, one.figure
    low, high = (_written(value, metric.unit) for value in (found.low, found.high))
    target = f"{'<=' if metric.at_most else '>='} {_written(metric.target, metric.unit)}"
    if metric.must_beat_chance:
        target = f"twice chance ({metric.chance:.1%}) and 5 s.e. above"
    return (
        metric.name, metric.judge, _written(found.value, metric.unit), f"{low} to {high}", str(found.count), target,
        "yes" if one.is_reached else "no",
    )  # fmt: skip


def machine() -> str:
    """Processor and system in a few words."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names) or 1} x {names[0] if names else platform.machine()}, {platform.system()}"


def _judge(one: Calibration) -> tuple[str, ...]:
    real, shuffled = (
        f"{_written(found.value, one.unit)} "
        f"({_written(found.low, one.unit)} to {_written(found.high, one.unit)}) of {found.count}"
        for found in (one.real, one.shuffled)
    )
    return one.judge, real, shuffled


def _told(one: Calibration) -> dict[str, Any]:
    return asdict(one) | {"real": _plain(one.real), "shuffled": _plain(one.shuffled)}


def _plain(found: Figure) -> dict[str, float | None]:
    """As JSON has it, which knows no number that is none."""
    return {name: None if math.isnan(value) else value for name, value in asdict(found).items()}


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def _written(value: float | None, unit: Unit) -> str:
    if value is None or math.isnan(value):
        return "-"
    if unit == "decibels":
        return f"{value:.1f} dB"
    return f"{value:.4f}" if unit == "nats" else f"{value:.1%}"
