"""Caption, condition or codes to music or a sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.utils.outputs import BaseOutput
from numpy.typing import NDArray
from torch import Tensor, nn

from anygpt_models.audio_codec import AudioCodec
from anygpt_models.caption import CaptionEncoder
from anygpt_models.code_pipeline import (
    Arrays,
    CodePipeline,
    Generators,
    OnStepEnd,
    Source,
    Words,
    check_output_type,
    conditions,
    on_step,
    returned,
    seeded,
)
from anygpt_models.denoiser import CodeDenoiser, Sampling
from anygpt_models.mask_scheduler import MaskScheduler
from anygpt_models.part import Part, configured
from anygpt_models.vocoder import Vocoder

PEAK = 0.95


@dataclass
class AudioOutput(BaseOutput):
    """Waveforms float32 [B, 81920] in -1..1 at 16 kHz and the codes int64 [B, 130] they were decoded from."""

    audios: NDArray[np.float32]
    codes: Tensor


class Styles(Part, ModelMixin):  # type: ignore[misc]  # both can be saved
    """Learned vectors, of which the seed picks one: which of several pieces a caption becomes.

    Codes of music that are drawn side by side blur into each other unless something says which piece they are of.
    """

    @configured
    def __init__(self, count: int = 2, width: int = 256) -> None:
        super().__init__()
        self.table = nn.Embedding(count, width)

    def forward(self, condition: Tensor, styles: Tensor) -> Tensor:
        """Condition [B, K, width] and styles int64 [B] -> condition [B, K + 1, width]."""
        return torch.cat([condition, self.table(styles)[:, None].to(condition.dtype)], dim=1)

    def draw(self, generators: list[torch.Generator]) -> Tensor:
        """One style per generator, int64 [B]."""
        drawn = [
            torch.randint(self.setting("count"), (), generator=each, device=each.device)
            for each in generators
        ]
        return torch.stack(drawn).to(self.table.weight.device)


class AudioPipeline(CodePipeline, DiffusionPipeline):
    """Masked diffusion of 130 codes under a condition, the deterministic codec to mels, the vocoder to sound."""

    audio_codec: AudioCodec
    audio_denoiser: CodeDenoiser
    audio_caption: CaptionEncoder
    audio_styles: Styles
    vocoder: Vocoder

    def __init__(
        self,
        audio_codec: AudioCodec,
        audio_denoiser: CodeDenoiser,
        audio_caption: CaptionEncoder,
        audio_styles: Styles,
        vocoder: Vocoder,
        scheduler: MaskScheduler,
    ) -> None:
        super().__init__()
        self.register_modules(  # type: ignore[no-untyped-call]
            audio_codec=audio_codec,
            audio_denoiser=audio_denoiser,
            audio_caption=audio_caption,
            audio_styles=audio_styles,
            vocoder=vocoder,
            scheduler=scheduler,
        )

    @torch.no_grad()
    def __call__(  # noqa: PLR0913  the signature of diffusers' pipelines
        self,
        caption: Words = None,
        condition: Tensor | None = None,
        codes: Tensor | None = None,
        num_inference_steps: int = 16,
        guidance_scale: float = 1.0,
        generator: Generators = None,
        callback_on_step_end: OnStepEnd | None = None,
        prompt: Words = None,
        num_waveforms_per_prompt: int = 1,
        output_type: Arrays = "np",
        return_dict: bool = True,
    ) -> Any:
        """AudioOutput, or its tuple, of exactly one of caption (or prompt), condition [B, 8, 256] and codes [B, 130].

        Without a generator, sound i has seed i.
        """
        check_output_type(Arrays, output_type)
        source = Source(caption, prompt, condition, codes, num_waveforms_per_prompt)
        sampling = Sampling(num_inference_steps, guidance_scale, 0.0, self.scheduler)
        if codes is None:
            told = conditions(self.audio_caption.encode, source, self.audio_denoiser.dtype)
            generators = seeded(generator, len(told))
            told = self.audio_styles(told, self.audio_styles.draw(generators))
            report = on_step(self, callback_on_step_end)
            codes = self.audio_denoiser.generate(told, generators, sampling, report)
        return returned(AudioOutput(audios=self.sound(codes), codes=codes), return_dict)

    @torch.no_grad()
    def sound(self, codes: Tensor) -> NDArray[np.float32]:
        """Codes [B, 130] -> waveforms [B, 81920]; what would clip is turned down as a whole."""
        waveform = self.vocoder(self.audio_codec.decode(codes))
        louder = (waveform.abs().amax(dim=-1, keepdim=True) / PEAK).clamp(min=1.0)
        audios: NDArray[np.float32] = (waveform / louder).float().cpu().numpy()
        return audios
