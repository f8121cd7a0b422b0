"""Caption, condition or codes to a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from torch import Tensor

from anygpt_models.caption import CaptionEncoder
from anygpt_models.code_pipeline import CodePipeline, Generators, OnStepEnd, conditions, on_step, seeded
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_pipeline import to_uint8
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.video_codec import MotionCodec, VideoCodec


@dataclass
class VideoOutput(BaseOutput):
    """Clips uint8 [B, 24, 128, 128, 3] at 8 frames a second, and the codes int64 [B, 56] they were decoded from."""

    frames: NDArray[np.uint8]
    codes: Tensor


class VideoPipeline(CodePipeline, DiffusionPipeline):
    """Masked diffusion of the motion codes, then of the key frame's, then the deterministic codec."""

    image_codec: ImageCodec
    motion_codec: MotionCodec
    image_denoiser: CodeDenoiser
    video_denoiser: CodeDenoiser
    image_caption: CaptionEncoder

    def __init__(
        self,
        image_codec: ImageCodec,
        motion_codec: MotionCodec,
        image_denoiser: CodeDenoiser,
        video_denoiser: CodeDenoiser,
        image_caption: CaptionEncoder,
        scheduler: MaskScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            image_codec=image_codec,
            motion_codec=motion_codec,
            image_denoiser=image_denoiser,
            video_denoiser=video_denoiser,
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
        generator: Generators = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> VideoOutput:
        """Exactly one of caption, condition [B, 8, 256] and codes [B, 56]; ValueError otherwise.

        Half of the steps, at least one, draw the motion; the callback counts all of them.
        """
        if codes is None:
            told = conditions(self.image_caption.encode, caption, condition)
            sampling = Sampling(num_inference_steps, guidance_scale, scheduler=self.scheduler)
            codes = self._drawn(
                told, seeded(generator, len(told)), sampling, on_step(self, callback_on_step_end)
            )
        elif caption is not None or condition is not None:
            raise ValueError("codes come alone")
        frames = VideoCodec(self.image_codec, self.motion_codec).decode(codes)
        return VideoOutput(frames=to_uint8(frames), codes=codes)

    def _drawn(
        self,
        told: Tensor,
        seeds: list[torch.Generator],
        sampling: Sampling,
        report: Callable[[int, int], None] | None,
    ) -> Tensor:
        """Codes [B, 56] under a condition, the motion before the picture."""
        moving = max(1, sampling.steps // 2)
        still = max(1, sampling.steps - moving)

        def first(done: int, _: int) -> None:
            if report:
                report(done, moving + still)

        def later(done: int, _: int) -> None:
            if report:
                report(moving + done, moving + still)

        motion = self.video_denoiser.generate(told, seeds, replace(sampling, steps=moving), first)
        picture = self.image_denoiser.generate(told, seeds, replace(sampling, steps=still), later)
        return torch.cat([picture, motion], dim=1)
