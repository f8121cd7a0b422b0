"""The loss curve of a run: a CSV that survives a resume, and its plot."""

from __future__ import annotations

import csv
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from anygpt.whole import written_whole


@dataclass
class Curve:
    """Rows of (step, seconds, loss) in `loss.csv`, written as they come."""

    folder: Path

    @property
    def path(self) -> Path:
        """Where the rows are."""
        return self.folder / "loss.csv"

    def start(self, step: int) -> None:
        """Keep the rows up to a step, so that a resumed run writes each step once."""
        kept = [row for row in self.rows() if row[0] <= step] if step else []
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path) as unfinished, unfinished.open("w", newline="") as file:
            csv.writer(file).writerows([("step", "seconds", "loss"), *kept])

    def add(self, step: int, seconds: float, loss: float) -> None:
        """Append one row."""
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow((step, f"{seconds:.1f}", f"{loss:.6g}"))

    def rows(self) -> list[tuple[int, float, float]]:
        """All rows so far, up to one that a full disk has torn."""
        found: list[tuple[int, float, float]] = []
        if self.path.exists():
            with self.path.open(newline="") as file, suppress(KeyError, TypeError, ValueError):
                for row in csv.DictReader(file):
                    found.append((int(row["step"]), float(row["seconds"]), float(row["loss"])))
        return found

    def plot(self) -> None:
        """Draw `loss.png` from the rows."""
        from matplotlib.figure import Figure  # only a trainer that plots needs matplotlib

        rows = self.rows()
        axes = (figure := Figure(figsize=(7, 4))).subplots()
        axes.plot([row[0] for row in rows], [row[2] for row in rows])
        axes.set(xlabel="step", ylabel="loss", title=self.folder.name)
        axes.grid(alpha=0.3)
        figure.savefig(self.folder / "loss.png", dpi=100)
