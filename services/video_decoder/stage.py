"""The stage: the codes, the signals or a caption of one clip in, the clip out."""

from __future__ import annotations

from anygpt.main import Runtime
from anygpt.topology import VIDEO
from anygpt_models.output import Clip
from anygpt_models.serving.decoding import DecoderStage
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.drawing import Drawing, OnStep
from anygpt_models.serving.spans import CodeSpace
from services.video_decoder.model import VideoPainter
from services.video_decoder.settings import Settings


class VideoDecoder(DecoderStage):
    """Draws clips: the motion first, then the key frame that it moves."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(VIDEO, runtime)
        self._settings = settings

    @property
    def code_space(self) -> CodeSpace:
        """See DecoderStage."""
        return self._painter.code_space

    def load(self) -> None:
        """See DecoderStage."""
        self._painter = VideoPainter(self._runtime.pack, prepare_device(self._settings))

    def draw(self, drawing: Drawing, on_step: OnStep) -> Clip:
        """See DecoderStage."""
        return self._painter.film(drawing, on_step)


def build(settings: Settings, runtime: Runtime) -> VideoDecoder:
    """The service's stage."""
    return VideoDecoder(settings, runtime)
