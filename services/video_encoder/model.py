"""The models that watch a video."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anygpt.pack import Pack
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.motion import FRAMES
from anygpt_models.pooling import pooled
from anygpt_models.serving.device import load_part
from anygpt_models.video_codec import MotionCodec, VideoCodec
from anygpt_models.video_recogniser import MotionRecogniser, VideoRecogniser

SIZE = 128
FRAME_RATE = 8.0
CLIP_S = FRAMES / FRAME_RATE


class VideoSight:
    """Videos uint8 [C, 24, 128, 128, 3] -> the recogniser's features [8, 256], or the codec's 56 codes of clip 0."""

    def __init__(self, pack: Pack, path: str, device: torch.device) -> None:
        self._watches_codes = path == "codes"
        self._device = device
        if self._watches_codes:
            image = load_part(ImageCodec, pack.part("image_codec"), device)
            motion = load_part(MotionCodec, pack.part("motion_codec"), device)
            self._watch = VideoCodec(image, motion).encode
        else:
            see = load_part(ImageRecogniser, pack.part("image_recogniser"), device)
            follow = load_part(MotionRecogniser, pack.part("motion_recogniser"), device)
            self._watch = VideoRecogniser(see, follow).features

    @torch.inference_mode()
    def __call__(self, videos: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """One array for each video."""
        clips = torch.from_numpy(np.concatenate(videos)).to(self._device)
        seen = self._watch(clips.permute(0, 1, 4, 2, 3).float() / 127.5 - 1).cpu()
        each = seen.unflatten(0, (len(videos), -1))
        return list((each[:, 0] if self._watches_codes else pooled(each)).numpy())
