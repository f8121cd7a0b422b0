"""The stages of the mini pack, in the order in which they need each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from anygpt.errors import InvalidInput
from services.trainer import alignment, audio, image, pack, speech, video
from services.trainer.image_scenes import run_scenes
from services.trainer.processes import once
from services.trainer.recipe import Recipe
from services.trainer.samples import run_samples
from services.trainer.stage_config import StageConfig
from services.trainer.video_animated import run_animated

Stage = Callable[[Recipe], None]
OTHER_PATH = "alignment.codes"
"""The stage that makes a second pack, by AnyGPT's path."""


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


def run_stages(
    recipe: Recipe, configs: Mapping[str, StageConfig], names: Iterable[str],
    minutes: float | None = None, steps: int | None = None,
) -> None:  # fmt: skip
    """Take stages in turn, each with its config, and say how long each took."""
    known, names = all_stages(), list(names)
    if not recipe.resume:
        recipe.forget(names)
    for name in names:
        print(f"stage {name}", flush=True)
        began = time.monotonic()
        known[name](configs[name].applied(replace(recipe, stage=name), minutes, steps))
        print(f"stage {name} took {time.monotonic() - began:.0f} s", flush=True)


def run_pack(recipe: Recipe) -> None:
    """Pack the weights into 8 bits and write the manifest."""
    once(lambda: pack.main(recipe.pack))
