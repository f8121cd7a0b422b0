"""The stage: the codes, the signals or a caption of one piece of music or sound in, the sound out."""

from __future__ import annotations

from anygpt.main import Runtime
from anygpt.topology import AUDIO
from anygpt.v1 import stages_pb2
from anygpt_models.output import Media, Sound
from anygpt_models.serving.decoding import DecoderStage
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.drawing import Drawing, OnStep
from anygpt_models.serving.sounding import pieces
from anygpt_models.serving.spans import CodeSpace
from services.audio_decoder.model import Composer
from services.audio_decoder.settings import Settings


class AudioDecoder(DecoderStage):
    """Composes music and sounds; they can be played in pieces before the file is finished."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(AUDIO, runtime)
        self._settings = settings

    @property
    def code_space(self) -> CodeSpace:
        """See DecoderStage."""
        return self._composer.code_space

    def load(self) -> None:
        """See DecoderStage."""
        self._composer = Composer(self._runtime.pack, prepare_device(self._settings))

    def draw(self, drawing: Drawing, on_step: OnStep) -> Sound:
        """See DecoderStage."""
        return self._composer.compose(drawing, on_step)

    def play(self, media: Media) -> list[stages_pb2.DecodeResponse]:
        """See DecoderStage."""
        assert isinstance(media, Sound)
        return list(pieces(media.samples, media.sample_rate))


def build(settings: Settings, runtime: Runtime) -> AudioDecoder:
    """The service's stage."""
    return AudioDecoder(settings, runtime)
