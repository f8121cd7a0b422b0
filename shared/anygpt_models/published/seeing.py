"""CLIP and CLAP as encoders: one vector of unit length for each picture, clip or sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from anygpt.pack import Pack
from anygpt_models.input.fit import normalised
from anygpt_models.published.loading import open_model


class ClipSight:
    """Pictures uint8 [B, S, S, 3] -> features [B, 1, width], as ImageBind's visual trunk gives them."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._model = open_model(pack.part("image_encoder"), "CLIPVisionModelWithProjection", device)
        self._device = device
        self.size = int(self._model.config.image_size)

    @torch.inference_mode()
    def features(self, pictures: NDArray[np.uint8]) -> Tensor:
        """One vector for each picture."""
        pixels = torch.from_numpy(normalised(pictures)).to(self._device)
        return functional.normalize(self._model(pixel_values=pixels).image_embeds, dim=-1)[:, None]

    def film_features(self, clips: NDArray[np.uint8], count: int = 2) -> Tensor:
        """Clips [B, T, S, S, 3] -> the mean over `count` frames of each, [B, 1, width]."""
        places = np.linspace(0, clips.shape[1] - 1, count + 2).round().astype(int)[1:-1]
        frames = clips[:, places].reshape(-1, *clips.shape[2:])
        each = self.features(frames)[:, 0].unflatten(0, (len(clips), count))
        return functional.normalize(each.mean(1), dim=-1)[:, None]


class ClapHearing:
    """Sounds float32 [B, S] -> features [B, 1, width]."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        from transformers import ClapFeatureExtractor

        folder = pack.part("audio_encoder")
        self._model = open_model(folder, "ClapAudioModelWithProjection", device)
        self._extract: Any = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
        self._device = device
        self.sample_rate = int(self._extract.sampling_rate)

    @torch.inference_mode()
    def features(self, sounds: Tensor) -> Tensor:
        """One vector for each sound, the same in any company."""
        # By itself the extractor crops what is too long at random, and calls a random sound of a batch longer.
        samples = sounds[:, : int(self._extract.nb_max_samples)].cpu().numpy()
        heard = self._extract(list(samples), sampling_rate=self.sample_rate, return_tensors="pt")
        is_longer = torch.zeros(len(samples), 1, dtype=torch.bool, device=self._device)
        found = self._model(heard["input_features"].to(self._device), is_longer=is_longer)
        return functional.normalize(found.audio_embeds, dim=-1)[:, None]
