"""What the pipelines that draw codes have in common: their sources, seeds, progress and scheduler."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeAlias, get_type_hints

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor

from anygpt_models.mask_scheduler import MaskScheduler

OnStepEnd: TypeAlias = Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any]]
"""diffusers' callback: pipeline, step from 0, steps left, nothing; what it raises stops the work."""
Generators: TypeAlias = torch.Generator | list[torch.Generator] | None
"""Where chance comes from: one generator for each sample, or one from which all of them draw in turn."""


class CodePipeline:
    """Masked diffusion of codes. Its components have the names of a pack's parts, so that a pack is its folder.

    Each pipeline names DiffusionPipeline itself: diffusers takes a file as a pipeline where one class does.
    """

    scheduler: MaskScheduler

    @classmethod
    def components_by_name(cls) -> dict[str, Any]:
        """The classes of the components, in the constructor's order."""
        return {name: kind for name, kind in get_type_hints(cls.__init__).items() if name != "return"}

    @classmethod
    def assemble(cls, folder: Path) -> Self:
        """The pipeline of a pack's parts: `from_pretrained`, without its bars and warnings."""
        return cls(**{
            name: kind.from_pretrained(folder / name) for name, kind in cls.components_by_name().items()
        })  # fmt: skip

    def with_scheduler(self, name: str) -> Self:
        """The same models for one drawing, uncovering codes by another schedule; the own one where none is named."""
        if not name:
            return self
        chosen = copy.copy(self)
        chosen.scheduler = MaskScheduler(name)
        return chosen


def conditions(
    encode: Callable[[list[str]], Tensor], caption: str | list[str] | None, condition: Tensor | None
) -> Tensor:
    """The condition given, or the caption's."""
    if (caption is None) == (condition is None):
        raise ValueError("give one of caption, condition and codes")
    captions = [caption] if isinstance(caption, str) else list(caption or ())
    if not (len(captions) if condition is None else len(condition)):
        raise ValueError("there is nothing to draw in an empty batch")
    return encode(captions) if condition is None else condition


def seeded(generator: Generators, count: int) -> list[torch.Generator]:
    """The generator of each sample; without any, sample i has seed i."""
    if generator is None:
        return [torch.Generator().manual_seed(seed) for seed in range(count)]
    if isinstance(generator, torch.Generator):
        return [generator] * count
    if len(generator) != count:
        raise ValueError(f"{count} samples need {count} generators, got {len(generator)}")
    return generator


def on_step(pipeline: DiffusionPipeline, callback: OnStepEnd | None) -> Callable[[int, int], None] | None:
    """The callback of diffusers as the denoiser's."""
    if callback is None:
        return None

    def report(done: int, of: int) -> None:
        callback(pipeline, done - 1, of - done, {})

    return report
