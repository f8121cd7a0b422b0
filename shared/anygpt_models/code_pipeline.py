"""What the pipelines that draw codes have in common: their sources, seeds, progress and scheduler."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, get_args, get_type_hints

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anygpt.whole import write_whole
from anygpt_models.mask_scheduler import MaskScheduler

MODEL_INDEX = "model_index.json"
OPENER = """from __future__ import annotations

from {0} import {1}

__all__ = ["{1}"]
"""
OnStepEnd: TypeAlias = Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any]]
"""diffusers' callback: pipeline, step from 0, steps left, nothing; what it raises stops the work."""
Generators: TypeAlias = torch.Generator | list[torch.Generator] | None
"""Where chance comes from: one generator for each sample, or one from which all of them draw in turn."""
OnStep: TypeAlias = Callable[[int, int], None]
"""The denoiser's callback: steps done, of how many."""
Words: TypeAlias = str | list[str] | None
"""A caption or several."""
Arrays: TypeAlias = Literal["np"]
Pictures: TypeAlias = Literal["np", "pil"]
"""In which type media come out: an array, or PIL's pictures."""


@dataclass(frozen=True)
class Source:
    """Exactly one of caption, prompt, which is another name of it, condition and codes; ValueError otherwise.

    Each caption and each condition is drawn `copies` times, one after the other; codes leave nothing to draw.
    """

    caption: Words
    prompt: Words
    condition: Tensor | None
    codes: Tensor | None
    copies: int

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise ValueError(f"each is drawn at least once, not {self.copies} times")
        told = sum(one is not None for one in (self.caption, self.prompt, self.condition))
        if self.codes is not None and (told or self.copies > 1):
            raise ValueError("codes come alone")
        if self.codes is None and told != 1:
            raise ValueError("give one of caption, prompt, condition and codes")

    def captions(self) -> list[str]:
        """The caption of each sample; empty where a condition is given."""
        words = self.caption if self.prompt is None else self.prompt
        told = [words] if isinstance(words, str) else list(words or ())
        return [caption for caption in told for _ in range(self.copies)]


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

    @classmethod
    def load_config(cls, *where: Any, **options: Any) -> Any:
        """The index of a pack as if it were this pipeline's alone: DiffusionPipeline's choice is not its own."""
        found = super().load_config(*where, **options)  # type: ignore[misc]
        index = found[0] if isinstance(found, tuple) else found
        index["_class_name"] = cls.__name__
        return found

    def save_pretrained(
        self, save_directory: Any, safe_serialization: bool = True, *options: Any, **named: Any
    ) -> None:
        """Write the pipeline so that DiffusionPipeline finds it, too: beside it is the line that imports its class."""
        super().save_pretrained(save_directory, safe_serialization, *options, **named)  # type: ignore[misc]
        folder = Path(save_directory)
        index = json.loads((folder / MODEL_INDEX).read_text(encoding="utf-8"))
        write_whole(folder / f"{self.module_name()}.py", self.opener())
        named_class = {**index, "_class_name": [self.module_name(), type(self).__name__]}
        write_whole(folder / MODEL_INDEX, json.dumps(named_class, indent=2) + "\n")

    @classmethod
    def module_name(cls) -> str:
        """What `custom_pipeline` calls it."""
        return cls.__module__.rpartition(".")[2]

    @classmethod
    def opener(cls) -> str:
        """The Python that tells diffusers which class of this package it is."""
        return OPENER.format(cls.__module__, cls.__name__)

    def with_scheduler(self, name: str) -> Self:
        """The same models for one drawing, uncovering codes by another schedule; the own one where none is named."""
        if not name:
            return self
        chosen = copy.copy(self)
        chosen.scheduler = MaskScheduler(name)
        return chosen


def conditions(encode: Callable[[list[str]], Tensor], source: Source, dtype: torch.dtype) -> Tensor:
    """The condition of each sample; one that was given, in the type computed in. Raises ValueError where none is."""
    captions = source.captions()
    if not (len(captions) if source.condition is None else len(source.condition)):
        raise ValueError("there is nothing to draw in an empty batch")
    if source.condition is None:
        return encode(captions)
    return source.condition.to(dtype).repeat_interleave(source.copies, dim=0)


def seeded(generator: Generators, count: int) -> list[torch.Generator]:
    """The generator of each sample; without any, sample i has seed i."""
    if generator is None:
        return [torch.Generator().manual_seed(seed) for seed in range(count)]
    if isinstance(generator, torch.Generator):
        return [generator] * count
    if len(generator) != count:
        raise ValueError(f"{count} samples need {count} generators, got {len(generator)}")
    return generator


def on_step(pipeline: DiffusionPipeline, callback: OnStepEnd | None) -> OnStep | None:
    """The callback of diffusers as the denoiser's."""
    if callback is None:
        return None

    def report(done: int, of: int) -> None:
        callback(pipeline, done - 1, of - done, {})

    return report


def after(before: int, of: int, report: OnStep | None) -> OnStep | None:
    """The callback of a drawing that goes on where another has done so many of all the steps."""
    return report and (lambda done, _: report(before + done, of))


def check_output_type(known: Any, output_type: str) -> None:
    """Raise ValueError for a type that is none of a Literal's."""
    names = get_args(known)
    if output_type not in names:
        raise ValueError(f"the output types are {', '.join(names)}, not {output_type!r}")


def pictured(pixels: NDArray[np.uint8], output_type: Pictures) -> Any:
    """Pixels uint8 [..., H, W, 3] as they are, or as PIL's pictures in lists, one for each axis before."""
    if output_type == "np":
        return pixels
    if pixels.ndim == 3:
        return Image.fromarray(pixels)
    return [pictured(one, output_type) for one in pixels]


def returned(output: BaseOutput, return_dict: bool) -> Any:
    """The output, or the tuple of its fields."""
    return output if return_dict else output.to_tuple()
