"""The trainer's command that measures a pack: `anygpt eval`."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    pack: Annotated[str, typer.Option(help="Name of a pack, or a path with a slash.")] = "mini",
    items: Annotated[int, typer.Option(min=2, help="Questions of each row.")] = 500,
    minutes: Annotated[
        float,
        typer.Option(min=0, help="Time for all rows, in equal shares; a row asks what fits. 0: no limit."),
    ] = 0.0,
    rows: Annotated[
        str, typer.Option(help="Only rows whose name has this in it, e.g. `pair` or `text -> image`.")
    ] = "",
    resume: Annotated[
        bool,
        typer.Option(help="Go on where earlier runs on the same pack stopped, and count what they asked."),
    ] = False,
    note: Annotated[str, typer.Option(help="What a reader has to know; it stands above the table.")] = "",
    gallery: Annotated[
        Path | None, typer.Option(help="HTML page with prompts beside what came of them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for EVAL.md and EVAL.json; empty: the pack's.")
    ] = None,
    beside: Annotated[
        Path | None,
        typer.Option(help="Folder of an evaluated pack, such as the other path's; its figures get a column."),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Folder of data sets and judges.")] = Path("~/.cache/anygpt"),
) -> None:
    """Measure a pack on held-out combinations, by judges that share no weights with it, with 95 % intervals.

    The first run trains two judges, which takes some minutes. A run of some of the rows is printed, and not kept
    in the pack; nor is one that asked less than the table of the same pack that is there. That table's note and
    column stay where they are not given anew.
    """
    from rich.console import Console

    from anygpt.errors import InvalidInput
    from anygpt.pack import open_pack
    from services.trainer.evaluation import run, table
    from services.trainer.evaluation.report import Report
    from services.trainer.evaluation.result import Beside

    other = Beside.read(beside) if beside else None
    chosen = [row for row in table.rows() if rows in row.name]
    if not chosen:
        raise InvalidInput(f"no row has {rows!r} in its name", field="--rows")
    opened = open_pack(pack)
    report = Report.open(out or (None if rows else opened.folder), gallery, spares_larger=out is None)
    plan = run.Plan(
        chosen, items, has_gallery=gallery is not None, minutes=minutes or math.inf, is_resumed=resume
    )
    result, shown = run.evaluate(opened, cache.expanduser(), plan)
    result, said = report.write(replace(result, note=note, beside=other), shown)
    for one in [*result.tables(), *([said] if said else [])]:
        Console().print(one)
