"""The trainer's commands for packs: `anygpt pack build | check | show`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from services.trainer.pack_check import Defect

pack = typer.Typer(help="Build, check and show packs.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of a pack, or a path with a slash.")]


@pack.command()
def check(name: Name) -> None:
    """Try every rule of a pack: digests, no pickle, vocabulary, licences, shapes, figures, round trips.

    The exit status is 1 when one does not hold.
    """
    from anygpt.pack import read_pack
    from services.trainer import pack_check
    from services.trainer.pack_round_trip import RULE, round_trips

    opened = read_pack(name)
    defects = pack_check.check(opened)
    for rule in pack_check.RULES:
        _tell(rule, [defect for defect in defects if defect.rule == rule])
    if not defects:
        for modality, found in round_trips(opened):
            _tell(f"{RULE}: {modality}", found)
            defects += found
    if defects:
        raise typer.Exit(1)


@pack.command()
def show(name: Name) -> None:
    """Print what a pack is made of: vocabulary, modalities, parts with their licences."""
    from rich.console import Console

    from anygpt.pack import read_pack
    from services.trainer.pack_page import tables

    for table in tables(read_pack(name)):
        Console().print(table)


@pack.command()
def build(
    recipe: Annotated[str, typer.Argument(help="mini, nextgpt-7b or anygpt-7b.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Folder with a folder for each part, for a published recipe."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the pack; empty: where it is trained, or its own.")
    ] = None,
) -> None:
    """Write a pack: of parts that were trained here (mini), or of published ones in local folders.

    Example: anygpt pack build nextgpt-7b --from models/nextgpt --out packs/nextgpt-7b
    """
    from anygpt.errors import InvalidInput
    from anygpt.pack import packs_folder
    from services.trainer import pack as mini
    from services.trainer import pack_build
    from services.trainer.commands import CACHE
    from services.trainer.published import RECIPES
    from services.trainer.recipe import held, pack_of

    if recipe == "mini" and source:
        raise InvalidInput("mini is built of what was trained, where it was trained", field="--from")
    if recipe == "mini":
        folder = out or pack_of(CACHE.expanduser())
        with held(folder) if folder.is_dir() else nullcontext():
            mini.main(folder)
    elif recipe not in RECIPES:
        raise InvalidInput(f"there are mini, {', '.join(RECIPES)}", field="RECIPE")
    elif source is None:
        parts = ", ".join(f"{name} ({part.kind})" for name, part in RECIPES[recipe].parts.items())
        raise InvalidInput(f"{recipe} is built of local folders: {parts}", field="--from")
    else:
        folder = out or packs_folder() / recipe
        manifest = pack_build.build(RECIPES[recipe], source, folder)
        print(f"{len(manifest.parts)} parts, {len(manifest.files)} files in {folder}")


def _tell(rule: str, defects: Sequence[Defect]) -> None:
    print(f"{rule:24} {'holds' if not defects else f'{len(defects)} defects'}")
    for defect in defects:
        print(f"  {defect.field}: {defect.message}")
