"""The models that see a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from anygpt.pack import Pack
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.serving.device import load_part

SIZE = 128


class ImageSight:
    """Pictures uint8 [128, 128, 3] -> the recogniser's features [4, 256], or the codec's 32 codes."""

    def __init__(self, pack: Pack, path: str, device: torch.device) -> None:
        if path == "codes":
            self._see = load_part(ImageCodec, pack.part("image_codec"), device).encode
        else:
            self._see = load_part(ImageRecogniser, pack.part("image_recogniser"), device).features
        self._device = device

    @torch.inference_mode()
    def __call__(self, pictures: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """One array for each picture."""
        pixels = torch.from_numpy(np.stack(pictures)).to(self._device)
        return list(self._see(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).cpu().numpy())
