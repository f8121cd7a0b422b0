"""The stages of the mini pack, in the order in which they need each other."""

from __future__ import annotations

from collections.abc import Callable

from services.trainer import alignment, audio, image, speech, video
from services.trainer.recipe import Recipe
from services.trainer.samples import run_samples

Stage = Callable[[Recipe], None]


def stages() -> dict[str, Stage]:
    """Stage name to what runs it."""
    parts: dict[str, Stage] = {}
    for name in ("codec", "tokens", "decoder", "recogniser"):
        parts[f"image.{name}"] = image.STAGES[name]
    parts |= {f"video.{name}": stage for name, stage in video.STAGES.items()}
    for name in ("denoiser", "steady"):
        parts[f"image.{name}"] = image.STAGES[name]
    parts |= {f"speech.{name}": stage for name, stage in speech.STAGES.items()}
    parts |= {f"audio.{name}": stage for name, stage in audio.STAGES.items()}
    parts["samples"] = run_samples
    parts["alignment"] = alignment.run_alignment
    return parts
