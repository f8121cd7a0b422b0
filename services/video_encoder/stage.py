"""The stage: a video in, its features or codes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from anygpt.main import Runtime
from anygpt.topology import VIDEO
from anygpt_models.input import Clips, Fit, Source, Viewing
from anygpt_models.motion import FRAMES
from anygpt_models.serving.batching import Batching
from anygpt_models.serving.device import prepare_device
from anygpt_models.serving.encoding import EncoderStage
from services.video_encoder.model import CLIP_S, VideoSight
from services.video_encoder.settings import Settings


class VideoEncoder(EncoderStage):
    """Watches videos: a short one whole, a long one in clips spread from start to end. Sound is not heard."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        super().__init__(VIDEO, runtime, Batching(settings.encoder_batch, settings.encoder_wait_ms))
        self._settings = settings

    def load(self) -> None:
        """See EncoderStage."""
        self._sight = VideoSight(self._runtime.pack, self.entry.path, prepare_device(self._settings))

    def adapt(self, source: Source) -> NDArray[np.uint8]:
        """Frames [clips, 24, size, size, 3] at 8 a second."""
        count = self._settings.video_clips if self.entry.path == "features" else 1
        return self.reader.video(source, Viewing(Clips(CLIP_S, count), FRAMES), Fit(self._sight.size))

    def encode(self, items: list[NDArray[Any]]) -> list[NDArray[Any]]:
        """See EncoderStage."""
        return self._sight(items)

    def blank(self) -> NDArray[np.uint8]:
        """A black clip."""
        return np.zeros((1, FRAMES, self._sight.size, self._sight.size, 3), dtype=np.uint8)


def build(settings: Settings, runtime: Runtime) -> VideoEncoder:
    """The service's stage."""
    return VideoEncoder(settings, runtime)
