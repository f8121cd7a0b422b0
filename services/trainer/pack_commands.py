"""The trainer's commands for packs: `anygpt pack build | check | show`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from services.trainer.pack_check import Defect

pack = typer.Typer(help="Build, check and show packs.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of a pack, or a path with a slash.")]


@pack.command()
def check(name: Name) -> None:
    """Try every rule of a pack: digests, no pickle, vocabulary, licences, shapes, a round trip for each modality.

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
    recipe: Annotated[str, typer.Argument(help="Recipe: mini.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the pack; empty: its own.")] = None,
) -> None:
    """Write the manifest over the parts of a pack, refused when a rule does not hold."""
    from anygpt.errors import InvalidInput
    from anygpt.pack import packs_folder
    from services.trainer import pack as mini

    if recipe != "mini":
        raise InvalidInput("there is one recipe: mini", field="RECIPE")
    mini.main(out or packs_folder() / recipe)


def _tell(rule: str, defects: Sequence[Defect]) -> None:
    print(f"{rule:24} {'holds' if not defects else f'{len(defects)} defects'}")
    for defect in defects:
        print(f"  {defect.field}: {defect.message}")
