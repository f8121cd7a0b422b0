"""The models that draw a picture: the pack's own, or a published pipeline."""

from __future__ import annotations

import torch

from anygpt.pack import Pack
from anygpt.topology import IMAGE
from anygpt_models.image_pipeline import ImagePipeline
from anygpt_models.output import Picture
from anygpt_models.published.drawing import image_pipeline
from anygpt_models.serving.drawing import Drawer, Drawing, OnStep, load_projection
from anygpt_models.serving.spans import CodeSpace


class ImagePainter:
    """A condition or codes -> a picture."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        opened = image_pipeline if pack.has("image_pipeline") else _own
        pipeline, self.code_space = opened(pack, device)
        self._drawer = Drawer(pipeline, load_projection(pack, IMAGE, device), device)

    def paint(self, drawing: Drawing, on_step: OnStep) -> Picture:
        """One picture."""
        return Picture(self._drawer.draw(drawing, on_step).images[0])


def _own(pack: Pack, device: torch.device) -> tuple[ImagePipeline, CodeSpace]:
    pipeline = ImagePipeline.assemble(pack.folder).to(device)
    return pipeline, CodeSpace(pipeline.image_denoiser.quantiser.size, pipeline.image_codec.length)
