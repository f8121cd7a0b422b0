"""The models that draw a picture."""

from __future__ import annotations

import torch

from anygpt.pack import Pack
from anygpt.topology import IMAGE
from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.output import Picture
from anygpt_models.serving.device import load_part
from anygpt_models.serving.drawing import Drawer, Drawing, OnStep, load_projection
from anygpt_models.serving.spans import CodeSpace


class ImagePainter:
    """A condition or 32 codes -> a picture of 128 x 128 pixels."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        denoiser = load_part(CodeDenoiser, pack.part("image_denoiser"), device)
        self.code_space = CodeSpace(denoiser.quantiser.size, denoiser.setting("length"))
        pipeline = ImagePipeline(
            load_part(ImageCodec, pack.part("image_codec"), device),
            denoiser,
            load_part(CaptionEncoder, pack.part("image_caption"), device),
        )
        self._drawer = Drawer(pipeline, load_projection(pack, IMAGE, device), device)

    def paint(self, drawing: Drawing, on_step: OnStep) -> Picture:
        """One picture."""
        return Picture(self._drawer.draw(drawing, on_step).images[0])
