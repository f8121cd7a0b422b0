"""Caption, condition or codes to a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
from anygpt_models.image_codec import ImageCodec, scene_codes
from anygpt_models.layout import MOST_THINGS, Layout
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.scene_caption import SceneCaption

ONE_BATCH = "one batch is of scenes or of single pictures"


@dataclass
class ImageOutput(BaseOutput):
    """Pictures uint8 [B, 128, 128, 3] and the codes int64 [B, 32] they were decoded from; of scenes, [B, 100].

    Codes of a batch with both are a list, one tensor for each picture.
    """

    images: NDArray[np.uint8] | list[Image]
    codes: Tensor | list[Tensor]


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
        caption: Words = None,
        condition: Tensor | None = None,
        codes: Tensor | None = None,
        num_inference_steps: int = 8,
        guidance_scale: float = 1.5,
        generator: Generators = None,
        callback_on_step_end: OnStepEnd | None = None,
        prompt: Words = None,
        num_images_per_prompt: int = 1,
        output_type: Pictures = "np",
        return_dict: bool = True,
    ) -> Any:
        """ImageOutput, or its tuple, of exactly one of caption (or prompt), condition and codes; else ValueError.

        A condition is [B, 8, 256], or [B, 27, 256] of scenes; codes are [B, 32] or [B, 100]. Captions that say where
        each of up to three things stands are those of scenes. Captions of both kinds are drawn one kind after the
        other, and the callback counts all steps; conditions and codes are of one kind, as codes differ in number.
        Without a generator, picture i has seed i.
        """
        check_output_type(Pictures, output_type)
        source = Source(caption, prompt, condition, codes, num_images_per_prompt)
        sampling = Sampling(num_inference_steps, guidance_scale, scheduler=self.scheduler)
        report = on_step(self, callback_on_step_end)
        found = self._drawn(source, generator, sampling, report) if codes is None else codes
        images = pictured(to_uint8(self._decoded(found)), output_type)
        return returned(ImageOutput(images=images, codes=found), return_dict)

    def _drawn(
        self, source: Source, generator: Generators, sampling: Sampling, report: OnStep | None
    ) -> Tensor | list[Tensor]:
        """The codes of each sample: one tensor, or a list where captions are of both kinds."""
        captions, encode = source.captions(), partial(condition_of, self.image_caption)
        kinds = rows_by_kind(captions)
        if len(kinds) < 2:
            told = conditions(encode, source, self.image_denoiser.dtype)
            return self._batch(told, seeded(generator, len(told)), sampling, report)
        seeds, codes = seeded(generator, len(captions)), dict[int, Tensor]()
        for place, rows in enumerate(kinds):
            told = encode([captions[row] for row in rows])
            told_step = after(place * sampling.steps, len(kinds) * sampling.steps, report)
            batch = self._batch(told, [seeds[row] for row in rows], sampling, told_step)
            codes |= zip(rows, batch, strict=True)
        return [codes[row] for row in range(len(captions))]

    def _batch(
        self, told: Tensor, seeds: list[torch.Generator], sampling: Sampling, report: OnStep | None
    ) -> Tensor:
        """Codes [B, 32] of single pictures or [B, 100] of scenes, under conditions of one kind."""
        draw = partial(self.image_denoiser.generate, sampling=sampling, on_step=report)
        return drawn(draw, told, seeds, self.image_caption.setting("queries"))

    def _decoded(self, codes: Tensor | list[Tensor]) -> Tensor:
        """Pixels [B, 3, 128, 128]."""
        if isinstance(codes, Tensor):
            return self.image_codec.decode(codes)
        return torch.cat([self.image_codec.decode(one[None]) for one in codes])


def rows_by_kind(captions: list[str]) -> list[list[int]]:
    """Which captions are of single pictures and which of scenes, the kind of the first one first."""
    kinds: dict[bool, list[int]] = {}
    for row, caption in enumerate(captions):
        kinds.setdefault(SceneCaption.parse(caption) is None, []).append(row)
    return list(kinds.values())


def condition_of(encoder: CaptionEncoder, captions: list[str]) -> Tensor:
    """Captions of one kind -> conditions [B, 8, 256] of single pictures or [B, 27, 256] of scenes."""
    scenes = [scene for scene in map(SceneCaption.parse, captions) if scene]
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
