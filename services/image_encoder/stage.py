"""The stage: a picture in, its features or codes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygpt.main import Runtime
from anygpt.topology import IMAGE
from anygpt_models.input import Fit, Source
from anygpt_models.serving.batching import Batching
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.encoding import EncoderStage
from services.image_encoder.model import ImageSight
from services.image_encoder.settings import Settings


class ImageEncoder(EncoderStage):
    """Sees still pictures; of an animated one the first frame."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(IMAGE, runtime, Batching(settings.encoder_batch, settings.encoder_wait_ms))
        self._settings = settings

    def load(self) -> None:
        """See EncoderStage."""
        self._sight = ImageSight(self._runtime.pack, self.entry.path, prepare_device(self._settings))
        self._fit = Fit(self._sight.size, self._settings.image_fit)

    def adapt(self, source: Source) -> NDArray[np.uint8]:
        """Pixels [size, size, 3]."""
        return self.reader.image(source, self._fit)

    def encode(self, items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """See EncoderStage."""
        return self._sight(items)

    def blank(self) -> NDArray[np.uint8]:
        """A black picture."""
        return np.zeros((self._sight.size, self._sight.size, 3), dtype=np.uint8)


def build(settings: Settings, runtime: Runtime) -> ImageEncoder:
    """The service's stage."""
    return ImageEncoder(settings, runtime)
