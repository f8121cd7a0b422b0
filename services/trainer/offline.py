"""A whole pack from one bundle, on a machine that reaches no network: the one command of a borrowed accelerator.

`python -m services.trainer.offline bundle.zip OUT --device cuda`. Run again with `--resume`, it goes on where it was.
Needs what README.md lists and the package of the base model; no other service.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from anygpt.pack import file_digest
from anygpt.whole import write_whole
from services.trainer import bundle, delivery
from services.trainer.device import CPU, CUDA, device_of
from services.trainer.mini import read_configs, run_stages, stages
from services.trainer.processes import joined
from services.trainer.recipe import Recipe, held
from services.trainer.stage_config import GPU, check_budget

UNPACKED = "unpacked"
"""Stands in the work folder when all data are there, with their bundle's sha256; a kill while they come leaves none."""
AT_HOME = {"video.animated", "speech.data", "speech.judge", "audio.data", "audio.judge"}
"""Stages whose work is in the bundle, and those whose data are not."""


def main(arguments: list[str] | None = None) -> None:
    """Unpack the data, take every stage in turn, and lay what came of it into files that can be brought home."""
    chosen = _parser().parse_args(arguments)
    check_budget("--part", chosen.part)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; --resume goes on from here"))
    configs = {name: one.in_part(chosen.part) for name, one in read_configs(chosen.config).items()}
    pack = chosen.work / "packs" / "mini"
    recipe = Recipe(chosen.work, pack, chosen.work / "runs", resume=chosen.resume)
    _unpack(chosen.bundle, chosen.work)
    with joined(), device_of(chosen.device), held(recipe.pack, recipe.runs):
        try:
            run_stages(recipe, configs, chosen.stage or [name for name in stages() if name not in AT_HOME])
        finally:
            # Whatever stopped a stage: what the others made comes home.
            if recipe.pack.is_dir():
                _deliver(recipe, chosen.out)


def _unpack(packed: Path, work: Path) -> None:
    """Lay out the data of a bundle, where they are not those that are there. Raises InvalidInput for no bundle."""
    done, digest = work / UNPACKED, file_digest(packed) if packed.is_file() else ""
    if digest and done.exists() and done.read_text(encoding="utf-8") == digest:
        return
    done.unlink(missing_ok=True)
    _timed("data", lambda: bundle.unpack(packed, work))
    write_whole(done, digest)


def _deliver(recipe: Recipe, out: Path) -> None:
    files = delivery.deliver(recipe.pack, recipe.runs, out)
    print(f"{len(files)} files in {out.name}: {sum(path.stat().st_size for path in files) / 2**20:.1f} MiB")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--work", type=Path, default=Path("work"), help="data, runs and the pack while it grows"
    )
    parser.add_argument("--device", choices=[CPU, CUDA], default=CUDA)
    parser.add_argument("--config", type=Path, default=GPU)
    parser.add_argument(
        "--part", type=float, default=1.0, help="of every stage's minutes, where time is shorter"
    )
    parser.add_argument("--stage", nargs="+", choices=list(stages()), help="some only, in this order")
    parser.add_argument("--resume", action="store_true")
    return parser


def _timed(name: str, work: Callable[[], None]) -> None:
    began = time.monotonic()
    work()
    print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
