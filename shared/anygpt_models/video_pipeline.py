"""Caption, condition or codes to a clip."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor

from anygpt_models.caption import CaptionEncoder
from anygpt_models.code_pipeline import (
    CodePipeline,
    Generators,
    OnStep,
    OnStepEnd,
    Pictures,
    Source,
    Words,
    after,
    check_output_type,
    conditions,
    on_step,
    pictured,
    returned,
    seeded,
)
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_pipeline import to_uint8
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.video_codec import MotionCodec, VideoCodec


@dataclass
class VideoOutput(BaseOutput):
    """Clips uint8 [B, 24, 128, 128, 3] at 8 frames a second, and the codes int64 [B, 56] they were decoded from."""

    frames: NDArray[np.uint8] | list[list[Image]]
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
        caption: Words = None,
        condition: Tensor | None = None,
        codes: Tensor | None = None,
        num_inference_steps: int = 8,
        guidance_scale: float = 1.5,
        generator: Generators = None,
        callback_on_step_end: OnStepEnd | None = None,
        prompt: Words = None,
        num_videos_per_prompt: int = 1,
        output_type: Pictures = "np",
        return_dict: bool = True,
    ) -> Any:
        """VideoOutput, or its tuple, of exactly one of caption (or prompt), condition [B, 8, 256] and codes [B, 56].

        Without a generator, clip i has seed i. Half of the steps, at least one, draw the motion; the callback counts
        all of them.
        """
        check_output_type(Pictures, output_type)
        source = Source(caption, prompt, condition, codes, num_videos_per_prompt)
        sampling = Sampling(num_inference_steps, guidance_scale, scheduler=self.scheduler)
        if codes is None:
            told = conditions(self.image_caption.encode, source, self.image_denoiser.dtype)
            report = on_step(self, callback_on_step_end)
            codes = self._drawn(told, seeded(generator, len(told)), sampling, report)
        frames = to_uint8(VideoCodec(self.image_codec, self.motion_codec).decode(codes))
        return returned(VideoOutput(frames=pictured(frames, output_type), codes=codes), return_dict)

    def _drawn(
        self, told: Tensor, seeds: list[torch.Generator], sampling: Sampling, report: OnStep | None
    ) -> Tensor:
        """Codes [B, 56] under a condition, the motion before the picture."""
        moving = max(1, sampling.steps // 2)
        still = max(1, sampling.steps - moving)
        first, later = (after(before, moving + still, report) for before in (0, moving))
        motion = self.video_denoiser.generate(told, seeds, replace(sampling, steps=moving), first)
        picture = self.image_denoiser.generate(told, seeds, replace(sampling, steps=still), later)
        return torch.cat([picture, motion], dim=1)
