"""The models of a diffusion decoder: signals, a caption or codes to what its pipeline makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeAlias

import torch
from torch import Tensor

from anygpt.errors import InvalidInput
from anygpt.pack import Pack
from anygpt.topology import MODALITY_NAMES, Modality
from anygpt_models.projection import OutputProjection
from anygpt_models.serving.device import load_part
from anygpt_models.serving.options import Diffusion
from anygpt_models.serving.spans import Content


class Pipeline(Protocol):
    """A diffusers pipeline, or what behaves like one."""

    def with_scheduler(self, name: str) -> Self:
        """The same models for one drawing; the pipeline's own scheduler where none is named."""
        ...

    def __call__(self, *_: Any, **__: Any) -> Any:
        """Draw."""
        ...


OnStep: TypeAlias = Callable[[int, int], None]
"""Told `(done, of)` after each denoising step; what it raises stops the work."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How one span is drawn."""

    content: Content
    diffusion: Diffusion
    seed: int


def load_projection(pack: Pack, modality: Modality, device: torch.device) -> OutputProjection | None:
    """The projection of a modality's signals, where the pack has such signals."""
    if modality not in pack.vocabulary.signals:
        return None
    return load_part(OutputProjection, pack.part(f"{MODALITY_NAMES[modality]}_output_projection"), device)


class Drawer:
    """A diffusers pipeline, and the projection that turns the language model's signals into its condition."""

    def __init__(self, pipeline: Pipeline, projection: OutputProjection | None, device: torch.device) -> None:
        self._pipeline = pipeline
        self._projection = projection
        self._device = device

    def draw(self, drawing: Drawing, on_step: OnStep) -> Any:
        """The pipeline's output, one step after the other."""

        def report(_: Any, step: int, left: int, values: dict[str, Any]) -> dict[str, Any]:
            on_step(step + 1, step + 1 + left)
            return values

        return self._pipeline.with_scheduler(drawing.diffusion.scheduler)(
            **self._condition(drawing.content),
            num_inference_steps=drawing.diffusion.steps,
            guidance_scale=drawing.diffusion.guidance,
            generator=[torch.Generator(self._device).manual_seed(drawing.seed)],
            callback_on_step_end=report,
        )

    def _condition(self, content: Content) -> dict[str, Any]:
        if content.codes:
            return {"codes": torch.tensor([content.codes], dtype=torch.int64, device=self._device)}
        if content.signals is None:
            return {"caption": [content.caption]}
        return {"condition": self._projected(torch.from_numpy(content.signals)[None].to(self._device))}

    @torch.inference_mode()
    def _projected(self, signals: Tensor) -> Tensor:
        assert self._projection is not None
        condition: Tensor = self._projection(signals)
        if not condition.isfinite().all():
            raise InvalidInput("the signals are too large to draw from", field="signals.tensor.data")
        return condition
