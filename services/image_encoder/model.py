"""The models that see a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anygpt.pack import Pack
from anygpt_models.image_codec import ImageCodec
from anygpt_models.image_recogniser import ImageRecogniser
from anygpt_models.published.seeing import ClipSight
from anygpt_models.scene_recogniser import LayoutRecogniser, SceneRecogniser
from anygpt_models.serving.device import load_part

SIZE = 128
LAYOUT = "image_layout"


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
            self._see = _from_bytes(_recogniser(pack, device).features, device)

    @torch.inference_mode()
    def __call__(self, pictures: list[NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """One array for each picture."""
        return [seen.cpu().numpy() for seen in self._see(np.stack(pictures))]


def _recogniser(pack: Pack, device: torch.device) -> SceneRecogniser:
    """What sees single things, and the things of scenes where the pack has a part for those."""
    image = load_part(ImageRecogniser, pack.part("image_recogniser"), device)
    return SceneRecogniser(
        image, load_part(LayoutRecogniser, pack.part(LAYOUT), device) if pack.has(LAYOUT) else None
    )


def _from_bytes(
    see: Callable[[Tensor], Iterable[Tensor]], device: torch.device
) -> Callable[[NDArray[np.uint8]], Iterable[Tensor]]:
    """For parts that take pixels [B, 3, H, W] in -1..1."""
    return lambda pictures: see(torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1)
