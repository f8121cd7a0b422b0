"""EnCodec as AnyGPT uses it: music in codes, its codebooks in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anygpt.errors import Unserved
from anygpt.pack import Pack
from anygpt_models.audio_pipeline import AudioOutput
from anygpt_models.published.loading import open_model
from anygpt_models.serving.spans import CodeSpace

ENCODEC = "EncodecModel"


class MusicCodec:
    """EnCodec with its codebooks in turn: frame by frame, layer by layer, each layer in a band of its own."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        self._model = open_model(pack.part("audio_codec"), "EncodecModel", device)
        config = self._model.config
        self.sample_rate = int(config.sampling_rate)
        self.frame = int(config.hop_length)
        """Samples of one frame."""
        self.size = int(config.codebook_size)
        self.layers = int(self._model.quantizer.get_num_quantizers_for_bandwidth(self.bandwidth))
        self._device = device

    @property
    def bandwidth(self) -> float:
        """The most that the codec was trained for, in kilobits a second."""
        return float(max(self._model.config.target_bandwidths))

    @property
    def code_space(self) -> CodeSpace:
        """Codes of any number of whole frames."""
        return CodeSpace(self.size * self.layers, step=self.layers)

    @torch.inference_mode()
    def encode(self, sounds: Tensor) -> Tensor:
        """Samples [B, S] -> codes [B, frames x layers], code + size x layer."""
        found = self._model.encode(sounds[:, None], bandwidth=self.bandwidth, return_dict=True).audio_codes
        codes: Tensor = torch.cat(list(found), dim=-1).transpose(1, 2)
        return (codes + self._bands()).flatten(1)

    @torch.inference_mode()
    def decode(self, codes: Tensor) -> NDArray[np.float32]:
        """Codes [B, frames x layers] -> samples [B, S]."""
        layers = (codes.unflatten(1, (-1, self.layers)) - self._bands()).clamp(0, self.size - 1)
        made = self._model.decode(layers.transpose(1, 2)[None], [None], return_dict=True).audio_values
        samples: NDArray[np.float32] = made[:, 0].clamp(-1, 1).float().cpu().numpy()
        return samples

    def with_scheduler(self, _name: str) -> MusicCodec:
        """Itself: a codec has no steps."""
        return self

    def __call__(
        self, codes: Tensor | None = None, caption: list[str] | None = None, **_: Any
    ) -> AudioOutput:
        """As a pipeline without steps. Raises Unserved for a caption."""
        if codes is None:
            raise Unserved("this decoder plays codes", field="caption")
        return AudioOutput(audios=self.decode(codes), codes=codes)

    def _bands(self) -> Tensor:
        return torch.arange(self.layers, device=self._device) * self.size
