"""The trainer's commands for instruction data: `anygpt mosit build | check | convert`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

mosit = typer.Typer(help="Build, check and convert dialogues that switch modalities.", no_args_is_help=True)
File = Annotated[
    Path, typer.Argument(help="mosit.json, mosit_instruction_tuning.json, or AnyInstruct's JSONL.")
]


class Kind(StrEnum):
    """The published forms."""

    RAW = "raw"
    PREPARED = "prepared"
    ANYINSTRUCT = "anyinstruct"


@mosit.command()
def build(
    out: Annotated[Path, typer.Argument(help="Folder for train.json and held_out.json.")],
    seed: Annotated[int, typer.Option(help="Same seed, same dialogues.")] = 0,
) -> None:
    """Write mini-MosIT: 5,000 dialogues for training, 500 of other topics for judging."""
    from services.trainer.mosit import files, mini

    for split, count in (("train", mini.TRAINED), ("held_out", mini.HELD_OUT)):
        records = mini.build(split, count, seed)
        files.write(out / f"{split}.json", records, "raw")
        rounds = sum(record.rounds for record in records) / count
        print(
            f"{split}: {count} dialogues, {len({r.topic for r in records})} topics, {rounds:.1f} rounds each"
        )


@mosit.command()
def check(
    files: Annotated[
        list[Path], typer.Argument(help="The files of a set, such as train.json and held_out.json.")
    ],
    media: Annotated[Path | None, typer.Option(help="Folder where each named file must lie.")] = None,
) -> None:
    """Print every defect with its record and its rule; the exit status is 1 when there is one."""
    from anygpt.errors import InvalidInput
    from services.trainer.mosit import check as rules
    from services.trainer.mosit.files import read

    if len({file.resolve() for file in files}) < len(files):
        raise InvalidInput("each file is given once: it would repeat itself", field="FILES")
    names = [file.name if len(files) > 1 else "" for file in files]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    found = {name: read(file) for name, file in zip(names, files, strict=True)}
    defects = rules.check_files(found, media)
    for defect in defects:
        print(defect)
    count = sum(len(contents.records) for contents in found.values())
    forms = " and ".join(dict.fromkeys(contents.form for contents in found.values()))
    print(f"{count} records read as {forms}, {len(defects)} defects")
    if defects:
        raise typer.Exit(1)


@mosit.command()
def convert(
    file: File, out: Path, form: Annotated[Kind, typer.Option(help="Form of the new file.")] = Kind.RAW
) -> None:
    """Write the dialogues of a file in another of the published forms, and say what that has no place for."""
    from anygpt.errors import InvalidInput
    from services.trainer.mosit import check as rules
    from services.trainer.mosit import files

    read = files.read(file)
    if read.defects:
        first = read.defects[0]
        raise InvalidInput(str(first), reason="RECORD_OUT_OF_FORM", field=str(first.record))
    written = files.write(out, read.records, form.value)
    print(f"{len(written)} dialogues, read as {read.form}, written as {form.value}")
    if left := files.left_out(read.records, written):
        print(f"left out, which that form has no place for: {', '.join(left)}")
    if defects := rules.check(written, form=form.value):
        print(f"{len(defects)} defects, the first: {defects[0]}")
