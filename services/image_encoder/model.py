"""The models that see a picture."""

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
from anygpt_models.published.seeing import ClipSight
from anygpt_models.serving.device import load_part

SIZE = 128


class ImageSight:
    """Pictures uint8 [size, size, 3] -> features [n, width] of the pack's encoder, or codes."""

    def __init__(self, pack: Pack, path: str, device: torch.device) -> None:
        self.size = SIZE
        if path == "codes":
            self._see = _from_bytes(load_part(ImageCodec, pack.part("image_codec"), device).encode, device)
        elif pack.has("image_encoder"):
            sight = ClipSight(pack, device)
            self._see, self.size = sight.features, sight.size
        else:
            recogniser = load_part(ImageRecogniser, pack.part("image_recogniser"), device)
            self._see = _from_bytes(recogniser.features, device)

    @torch.inference_mode()
    def __call__(self, pictures: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """One array for each picture."""
        return list(self._see(np.stack(pictures)).cpu().numpy())


def _from_bytes(
    see: Callable[[Tensor], Tensor], device: torch.device
) -> Callable[[NDArray[np.uint8]], Tensor]:
    """For parts that take pixels [B, 3, H, W] in -1..1."""
    return lambda pictures: see(torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1)
