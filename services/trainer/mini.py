"""The stages of the mini pack, in the order in which they need each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from anygpt.errors import InvalidInput
from services.trainer import alignment, audio, image, pack, speech, video
from services.trainer.image_scenes import run_scenes
from services.trainer.processes import once, process_count
from services.trainer.recipe import Recipe
from services.trainer.samples import run_samples
from services.trainer.settable import SETTABLE, check_settable
from services.trainer.stage_config import StageConfig, read_config
from services.trainer.video_animated import run_animated

Stage = Callable[[Recipe], None]
OTHER_PATH = "alignment.codes"
"""The stage that makes a second pack, by AnyGPT's path."""
SEALING = ("pack", OTHER_PATH)
"""Stages after which a pack can be served."""


def stages() -> dict[str, Stage]:
    """Stage name to what runs it."""
    parts: dict[str, Stage] = {}
    for name in ("codec", "tokens", "decoder", "recogniser"):
        parts[f"image.{name}"] = image.STAGES[name]
    parts |= {f"video.{name}": stage for name, stage in video.STAGES.items()}
    parts["video.animated"] = run_animated
    parts["image.scenes"] = run_scenes
    for name in ("denoiser", "steady"):
        parts[f"image.{name}"] = image.STAGES[name]
    parts |= {f"speech.{name}": stage for name, stage in speech.STAGES.items() if name != "judge"}
    parts |= {f"audio.{name}": stage for name, stage in audio.STAGES.items()}
    # What is said is heard through the vocoder of the audio stages.
    parts["speech.judge"] = speech.STAGES["judge"]
    parts["samples"] = run_samples
    parts |= {
        f"alignment.{name}": alignment.STAGES[name]
        for name in ("read", "describe", "converse", "redescribe", "signal")
    }
    parts["pack"] = run_pack
    return parts


def all_stages() -> dict[str, Stage]:
    """Those that make the pack, and those that are run only when they are asked for."""
    return {**stages(), OTHER_PATH: alignment.STAGES["codes"]}


def check_stage(name: str) -> None:
    """Raise InvalidInput for a stage that there is not."""
    known = all_stages()
    if name not in known:
        raise InvalidInput(f"there is no stage {name!r}; there are {', '.join(known)}", field="--stage")


def read_configs(path: Path) -> dict[str, StageConfig]:
    """A config for each stage. Raises InvalidInput for a key that is wrong, or would do nothing."""
    configs = read_config(path, all_stages())
    for name, config in configs.items():
        check_settable(name, config)
    return configs


def run_stages(
    recipe: Recipe, configs: Mapping[str, StageConfig], names: Iterable[str],
    minutes: float | None = None, steps: int | None = None,
) -> None:  # fmt: skip
    """Take stages in turn, each with its config, and say how long each took.

    Raises InvalidInput, before anything is touched, for stages that the processes of this run cannot share.
    """
    known, names = all_stages(), list(names)
    for name in names:
        _check_shared(name, configs[name])
    if not recipe.resume:
        recipe.forget(names)
    for name in names:
        print(f"stage {name}", flush=True)
        began = time.monotonic()
        known[name](configs[name].applied(replace(recipe, stage=name), minutes, steps))
        print(f"stage {name} took {time.monotonic() - began:.0f} s", flush=True)


def _check_shared(stage: str, config: StageConfig) -> None:
    count, shards = process_count(), config.shards or 1
    if stage in SETTABLE and shards % count:
        raise InvalidInput(
            f"{count} processes cannot share {shards} shards evenly: give {stage} a multiple of {count} in its config",
            reason="SHARDS", field=f"{stage}.shards",
        )  # fmt: skip


def run_pack(recipe: Recipe) -> None:
    """Pack the weights into 8 bits and write the manifest."""
    once(lambda: pack.main(recipe.pack))
