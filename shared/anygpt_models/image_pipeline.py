"""Caption, condition or codes to a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from torch import Tensor

from anygpt_models.caption import CaptionEncoder
from anygpt_models.code_pipeline import CodePipeline, Generators, OnStepEnd, conditions, on_step, seeded
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.image_codec import ImageCodec, scene_codes
from anygpt_models.layout import MOST_THINGS, Layout
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.scene_caption import SceneCaption

ONE_BATCH = "one batch is of scenes or of single pictures"


@dataclass
class ImageOutput(BaseOutput):
    """Pictures uint8 [B, 128, 128, 3] and the codes int64 [B, 32] they were decoded from; of scenes, [B, 100]."""

    images: NDArray[np.uint8]
    codes: Tensor


class ImagePipeline(CodePipeline, DiffusionPipeline):
    """Masked diffusion of 32 codes under a condition, then the deterministic codec.

    The condition of a scene is those of its things, each drawn apart, and the vectors that say where they stand.
    """

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
        generator: Generators = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> ImageOutput:
        """Exactly one of caption, condition [B, 8, 256] or [B, 27, 256] and codes [B, 32 or 100]; else ValueError.

        Captions that say where each of up to three things stands are those of scenes. A batch is of scenes or of
        single pictures, as their codes differ in number.
        """
        if codes is None:
            told = conditions(partial(condition_of, self.image_caption), caption, condition)
            sampling = Sampling(num_inference_steps, guidance_scale, scheduler=self.scheduler)
            draw = partial(self.image_denoiser.generate, sampling=sampling,
                           on_step=on_step(self, callback_on_step_end))  # fmt: skip
            codes = drawn(draw, told, seeded(generator, len(told)), self.image_caption.setting("queries"))
        elif caption is not None or condition is not None:
            raise ValueError("codes come alone")
        return ImageOutput(images=to_uint8(self.image_codec.decode(codes)), codes=codes)


def condition_of(encoder: CaptionEncoder, captions: list[str]) -> Tensor:
    """Captions -> conditions [B, 8, 256] of single pictures or [B, 27, 256] of scenes."""
    scenes = [scene for scene in map(SceneCaption.parse, captions) if scene]
    if len(scenes) not in {0, len(captions)}:
        raise ValueError(ONE_BATCH)
    return torch.cat([_scene(encoder, scene) for scene in scenes]) if scenes else encoder.encode(captions)


def _scene(encoder: CaptionEncoder, scene: SceneCaption) -> Tensor:
    told = encoder.encode(scene.alone())
    things = told.new_zeros(MOST_THINGS, *told.shape[1:])
    things[: len(told)] = told
    layout = scene.layout().vectors().to(told)
    return torch.cat([things.flatten(0, 1), layout])[None]


def drawn(
    draw: Callable[[Tensor, list[torch.Generator]], Tensor], condition: Tensor,
    generators: list[torch.Generator], queries: int,
) -> Tensor:  # fmt: skip
    """Codes under conditions of single pictures, `queries` vectors, or of scenes: so many for each thing, and a layout.

    Things are drawn apart, all at once; a condition whose layout is empty is that of a single picture. A batch of both
    raises ValueError.
    """
    if condition.shape[1] == queries:
        return draw(condition, generators)
    things, layout = condition[:, : MOST_THINGS * queries], Layout.of(condition[:, MOST_THINGS * queries :])
    scenes = layout.there.any(1)
    if not scenes.any():
        return draw(things[:, :queries], generators)
    if not scenes.all():
        raise ValueError(ONE_BATCH)
    shown = layout.there.clone()
    shown[:, 0] = True
    each = [generators[row] for row in shown.nonzero()[:, 0].tolist()]
    found = draw(things.unflatten(1, (MOST_THINGS, queries))[shown], each)
    codes = found.new_zeros(*shown.shape, found.shape[1])
    codes[shown] = found
    return scene_codes(codes, layout)


def to_uint8(pixels: Tensor) -> NDArray[np.uint8]:
    """Pixels [..., 3, H, W] in -1..1 -> uint8 [..., H, W, 3]."""
    scaled = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array: NDArray[np.uint8] = scaled.movedim(-3, -1).cpu().numpy()
    return array
