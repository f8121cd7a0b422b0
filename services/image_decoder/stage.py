"""The stage: the codes, the signals or a caption of one picture in, the picture out."""

from __future__ import annotations

from anygpt.main import Runtime
from anygpt.topology import IMAGE
from anygpt_models.output import Picture
from anygpt_models.serving.decoding import DecoderStage
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.drawing import Drawing, OnStep
from anygpt_models.serving.spans import CodeSpace
from services.image_decoder.model import ImagePainter
from services.image_decoder.settings import Settings


class ImageDecoder(DecoderStage):
    """Draws still pictures."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(IMAGE, runtime)
        self._settings = settings

    @property
    def code_space(self) -> CodeSpace:
        """See DecoderStage."""
        return self._painter.code_space

    def load(self) -> None:
        """See DecoderStage."""
        self._painter = ImagePainter(self._runtime.pack, prepare_device(self._settings))

    def draw(self, drawing: Drawing, on_step: OnStep) -> Picture:
        """See DecoderStage."""
        return self._painter.paint(drawing, on_step)


def build(settings: Settings, runtime: Runtime) -> ImageDecoder:
    """The service's stage."""
    return ImageDecoder(settings, runtime)
