"""The models that watch a video."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anygpt.pack import Pack
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.motion import FRAMES
from anygpt_models.pooling import pooled
from anygpt_models.published.seeing import ClipSight
from anygpt_models.serving.device import load_part
from anygpt_models.video_codec import MotionCodec, VideoCodec
from anygpt_models.video_recogniser import MotionRecogniser, VideoRecogniser

SIZE = 128
FRAME_RATE = 8.0
CLIP_S = FRAMES / FRAME_RATE


class VideoSight:
    """Videos uint8 [C, 24, size, size, 3] -> features [n, width] of the pack's encoder, or the codes of clip 0."""

    def __init__(self, pack: Pack, path: str, device: torch.device) -> None:
        self._watches_codes = path == "codes"
        self.size = SIZE
        if self._watches_codes:
            image = load_part(ImageCodec, pack.part("image_codec"), device)
            motion = load_part(MotionCodec, pack.part("motion_codec"), device)
            self._watch = _from_bytes(VideoCodec(image, motion).encode, device)
        elif pack.has("image_encoder"):
            sight = ClipSight(pack, device)
            self._watch, self.size = sight.film_features, sight.size
        else:
            see = load_part(ImageRecogniser, pack.part("image_recogniser"), device)
            follow = load_part(MotionRecogniser, pack.part("motion_recogniser"), device)
            self._watch = _from_bytes(VideoRecogniser(see, follow).features, device)

    @torch.inference_mode()
    def __call__(self, videos: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """One array for each video."""
        seen = self._watch(np.concatenate(videos)).cpu()
        each = seen.unflatten(0, (len(videos), -1))
        return list((each[:, 0] if self._watches_codes else pooled(each)).numpy())


def _from_bytes(
    watch: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[NDArray[np.uint8]], Tensor]:
    """For parts that take frames [B, T, 3, H, W] in -1..1."""
    return lambda clips: watch(torch.from_numpy(clips).to(device).permute(0, 1, 4, 2, 3).float() / 127.5 - 1)
