"""The trainer's own commands: `anygpt train mini | submit | fetch | list | params | bundle | receive`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from services.trainer.order_commands import Minutes, Stage, fetch, submit

train = typer.Typer(help="Train packs, and say what training them means.", no_args_is_help=True)
Cache = Annotated[Path, typer.Option(help="Folder of data sets, runs and checkpoints.")]
CACHE = Path("~/.cache/anygpt")
train.command()(submit)
train.command()(fetch)


@train.command()
def mini(
    stage: Stage = "",
    minutes: Minutes = None,
    steps: Annotated[int | None, typer.Option(help="Budget of each stage; empty: the config's.")] = None,
    part: Annotated[float, typer.Option(help="Share of the config's minutes.", min=0.001)] = 1.0,
    config: Annotated[Path | None, typer.Option(help="TOML with a table for each stage.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, or cuda: the accelerator that accelerate finds.")] = "cpu",
    cache: Cache = CACHE,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--pack",
            help="Where the parts go; empty: packs/mini in the cache. There one stage goes on from a copy of ours.",
        ),
    ] = None,
    runs: Annotated[
        Path | None, typer.Option(help="Where checkpoints, curves and samples go; empty: into the cache.")
    ] = None,
) -> None:
    """Train the mini pack, or one stage of it. Ctrl-C stops it; --resume goes on exactly where it was.

    At the end it says where the pack is. The one that is shipped stays as it is.
    """
    import signal
    import sys

    import torch

    from anygpt.pack import packs_folder
    from services.trainer.device import device_of
    from services.trainer.mini import SEALING, check_stage, read_configs, run_stages, stages
    from services.trainer.processes import joined, once
    from services.trainer.recipe import Recipe, begin_with, held, pack_of, runs_of
    from services.trainer.stage_config import MINI, check_budget

    if stage:
        check_stage(stage)
    for option, value in (("--minutes", minutes), ("--steps", steps), ("--part", part)):
        check_budget(option, value)
    configs = {name: one.in_part(part) for name, one in read_configs(config or MINI).items()}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; --resume goes on from here"))
    if threads:
        torch.set_num_threads(threads)
    home = cache.expanduser()
    pack = folder or pack_of(home)
    recipe = Recipe(home, pack, runs or runs_of(home, pack), resume=resume)
    with joined(), device_of(device), held(recipe.pack, recipe.runs):
        if stage and not folder:
            once(lambda: begin_with(pack, packs_folder() / "mini"))
        run_stages(recipe, configs, [stage] if stage else stages(), minutes, steps)
    if stage and stage not in SEALING:
        print(f"the parts are in {pack.absolute()}: anygpt pack build mini --out {pack.absolute()}")


@train.command()
def bundle(
    out: Annotated[Path, typer.Argument(help="The file to write, at most 24 MiB.")],
    cache: Cache = CACHE,
) -> None:
    """Pack all training data into one file, for a machine without a network."""
    from services.trainer import bundle as bundles

    print(f"{bundles.pack(cache.expanduser(), out) / 2**20:.1f} MiB in {out}")


@train.command()
def receive(
    folder: Annotated[Path, typer.Argument(help="Folder of the files that a run elsewhere brought back.")],
    pack: Annotated[Path, typer.Option("--pack", help="Folder of the pack to write.")],
    cache: Cache = CACHE,
) -> None:
    """Take in what `python -m services.trainer.offline` made on another machine: the pack and its runs' records."""
    from services.trainer import delivery
    from services.trainer.recipe import held, runs_of

    with held(pack):
        delivery.receive(folder, pack, runs_of(cache.expanduser(), pack))


@train.command(name="list")
def stage_names() -> None:
    """Print the stages of the mini pack in their order, then those that make another."""
    from services.trainer.mini import all_stages

    print("\n".join(all_stages()))


@train.command()
def params(recipe: Annotated[str, typer.Argument(help="nextgpt-7b, anygpt-7b or mini.")]) -> None:
    """Print the parameters of a recipe, part by part, and the share of them that is trained."""
    from rich.console import Console

    from anygpt.errors import InvalidInput
    from services.trainer import parameters
    from services.trainer.parameter_table import table
    from services.trainer.published import NEXTGPT_7B, RECIPES

    if recipe not in ("mini", *RECIPES):
        raise InvalidInput(f"there are mini, {', '.join(RECIPES)}", field="RECIPE")
    rows = parameters.recipe_rows(RECIPES[recipe]) if recipe in RECIPES else parameters.mini_rows()
    Console().print(table(recipe, rows))
    if recipe == NEXTGPT_7B.name:
        print(
            "with the paper's grouping input projections, among all that the paper counts: "
            f"{parameters.published_share(rows):.2%}; its own rounded figure is 155M of 12.43B, 1.25%"
        )
