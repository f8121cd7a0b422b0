"""Caption, condition or codes to a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from torch import Tensor

from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.image_codec import ImageCodec

OnStepEnd = Callable[[DiffusionPipeline, int, int, dict[str, Any]], dict[str, Any]]
"""diffusers' callback: pipeline, step from 0, steps left, nothing; what it raises stops the work."""


@dataclass
class ImageOutput(BaseOutput):
    """Pictures uint8 [B, 128, 128, 3] and the codes int64 [B, 32] they were decoded from."""

    images: NDArray[np.uint8]
    codes: Tensor


class ImagePipeline(DiffusionPipeline):
    """Masked diffusion of 32 codes under a condition, then the deterministic codec."""

    image_codec: ImageCodec
    image_denoiser: CodeDenoiser
    image_caption: CaptionEncoder

    def __init__(
        self, image_codec: ImageCodec, image_denoiser: CodeDenoiser, image_caption: CaptionEncoder
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            image_codec=image_codec, image_denoiser=image_denoiser, image_caption=image_caption
        )

    @torch.no_grad()
    def __call__(  # noqa: PLR0913  the signature of diffusers' pipelines
        self,
        caption: str | list[str] | None = None,
        condition: Tensor | None = None,
        codes: Tensor | None = None,
        num_inference_steps: int = 8,
        guidance_scale: float = 1.5,
        generator: list[torch.Generator] | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> ImageOutput:
        """Exactly one of caption, condition [B, 8, 256] and codes [B, 32]; ValueError otherwise."""
        if codes is None:
            told = conditions(self.image_caption, caption, condition)
            sampling = Sampling(num_inference_steps, guidance_scale)
            codes = self.image_denoiser.generate(
                told, seeded(generator, len(told)), sampling, on_step(self, callback_on_step_end)
            )
        elif caption is not None or condition is not None:
            raise ValueError("codes come alone")
        return ImageOutput(images=to_uint8(self.image_codec.decode(codes)), codes=codes)


def conditions(encoder: CaptionEncoder, caption: str | list[str] | None, condition: Tensor | None) -> Tensor:
    """The condition given, or the caption's."""
    if (caption is None) == (condition is None):
        raise ValueError("give one of caption, condition and codes")
    if condition is not None:
        return condition
    return encoder.encode([caption] if isinstance(caption, str) else list(caption or ()))


def seeded(generator: list[torch.Generator] | None, count: int) -> list[torch.Generator]:
    """One generator per sample; without any, sample i has seed i."""
    found = generator or [torch.Generator().manual_seed(seed) for seed in range(count)]
    if len(found) != count:
        raise ValueError(f"{count} samples need {count} generators, got {len(found)}")
    return found


def on_step(pipeline: DiffusionPipeline, callback: OnStepEnd | None) -> Callable[[int, int], None] | None:
    """The callback of diffusers as the denoiser's."""
    if callback is None:
        return None

    def report(done: int, of: int) -> None:
        callback(pipeline, done - 1, of - done, {})

    return report


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """Pixels [..., 3, H, W] in -1..1 -> uint8 [..., H, W, 3]."""
    scaled = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array: NDArray[np.uint8] = scaled.movedim(-3, -1).cpu().numpy()
    return array
