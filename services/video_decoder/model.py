"""The models that draw a video: the pack's own, or a published pipeline."""

from __future__ import annotations

import torch

from anygpt.pack import Pack
from anygpt.topology import VIDEO
from anygpt_models.output import Clip
from anygpt_models.published.drawing import video_pipeline
from anygpt_models.serving.drawing import Drawer, Drawing, OnStep, load_projection
from anygpt_models.serving.spans import CodeSpace
from anygpt_models.video_pipeline import VideoPipeline


class VideoPainter:
    """A condition or codes -> frames at the pack's rate."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        opened = video_pipeline if pack.has("video_pipeline") else _own
        pipeline, self.code_space = opened(pack, device)
        self._frame_rate = pack.outputs[VIDEO].frame_rate
        self._drawer = Drawer(pipeline, load_projection(pack, VIDEO, device), device)

    def film(self, drawing: Drawing, on_step: OnStep) -> Clip:
        """One clip."""
        return Clip(self._drawer.draw(drawing, on_step).frames[0], self._frame_rate)


def _own(pack: Pack, device: torch.device) -> tuple[VideoPipeline, CodeSpace]:
    pipeline = VideoPipeline.assemble(pack.folder).to(device)
    picture, motion = pipeline.image_denoiser, pipeline.video_denoiser
    return pipeline, CodeSpace(picture.quantiser.size, picture.setting("length") + motion.setting("length"))
