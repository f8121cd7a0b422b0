"""The trainer's own command: `anygpt train`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer


def train(
    pack: Annotated[str, typer.Argument(help="Recipe: mini.")],
    stage: Annotated[str, typer.Option(help="One stage, e.g. image.codec; empty: all, in order.")] = "",
    minutes: Annotated[float, typer.Option(help="Budget of each stage.")] = math.inf,
    steps: Annotated[int, typer.Option(help="Budget of each stage.")] = 100_000,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.")] = 0,
    cache: Annotated[Path, typer.Option(help="Folder of data sets, runs and checkpoints.")] = Path(
        "~/.cache/anygpt"
    ),
    folder: Annotated[Path | None, typer.Option("--pack", help="Where the parts go.")] = None,
) -> None:
    """Train a pack, or one stage of it. Ctrl-C stops it; --resume goes on exactly where it was.

    Without --stage lists what there is when PACK is `list`.
    """
    import torch

    from anygpt.errors import InvalidInput
    from anygpt.pack import packs_folder
    from services.trainer.mini import stages
    from services.trainer.recipe import Recipe

    known = stages()
    if pack == "list":
        print("\n".join(known))
        return
    if pack != "mini":
        raise InvalidInput("there is one recipe: mini", field="PACK")
    if stage and stage not in known:
        raise InvalidInput(f"there is no stage {stage!r}; there are {', '.join(known)}", field="--stage")
    if threads:
        torch.set_num_threads(threads)
    recipe = Recipe(cache.expanduser(), folder or packs_folder() / pack, minutes, steps, resume)
    for name in [stage] if stage else known:
        print(f"stage {name}")
        known[name](recipe)
