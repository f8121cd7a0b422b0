"""Caption, condition or codes to a picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from torch import Tensor

from anygpt_models.caption import CaptionEncoder
from anygpt_models.code_pipeline import CodePipeline, OnStepEnd, conditions, on_step, seeded
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.image_codec import ImageCodec
from anygpt_models.mask_scheduler import MaskScheduler


@dataclass
class ImageOutput(BaseOutput):
    """Pictures uint8 [B, 128, 128, 3] and the codes int64 [B, 32] they were decoded from."""

    images: NDArray[np.uint8]
    codes: Tensor


class ImagePipeline(CodePipeline, DiffusionPipeline):
    """Masked diffusion of 32 codes under a condition, then the deterministic codec."""

    image_codec: ImageCodec
    image_denoiser: CodeDenoiser
    image_caption: CaptionEncoder

    def __init__(
        self,
        image_codec: ImageCodec,
        image_denoiser: CodeDenoiser,
        image_caption: CaptionEncoder,
        scheduler: MaskScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            image_codec=image_codec,
            image_denoiser=image_denoiser,
            image_caption=image_caption,
            scheduler=scheduler,
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
            sampling = Sampling(num_inference_steps, guidance_scale, scheduler=self.scheduler)
            codes = self.image_denoiser.generate(
                told, seeded(generator, len(told)), sampling, on_step(self, callback_on_step_end)
            )
        elif caption is not None or condition is not None:
            raise ValueError("codes come alone")
        return ImageOutput(images=to_uint8(self.image_codec.decode(codes)), codes=codes)


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """Pixels [..., 3, H, W] in -1..1 -> uint8 [..., H, W, 3]."""
    scaled = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array: NDArray[np.uint8] = scaled.movedim(-3, -1).cpu().numpy()
    return array
