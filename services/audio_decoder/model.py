"""The models that compose music and sounds."""

from __future__ import annotations

import torch

from anygpt.pack import Pack
from anygpt.topology import AUDIO
from anygpt_models.audio_codec import PER_STEP, AudioCodec
from anygpt_models.audio_pipeline import AudioPipeline, Styles
from anygpt_models.caption import CaptionEncoder
from anygpt_models.denoiser import CodeDenoiser
from anygpt_models.output import Sound
from anygpt_models.serving.device import load_part
from anygpt_models.serving.drawing import Drawer, Drawing, OnStep, load_projection
from anygpt_models.serving.spans import CodeSpace
from anygpt_models.spectrogram import SAMPLE_RATE
from anygpt_models.vocoder import Vocoder


class Composer:
    """A condition or 128 codes -> 5.12 s of sound at 16 kHz."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        denoiser = load_part(CodeDenoiser, pack.part("audio_denoiser"), device)
        self.code_space = CodeSpace(denoiser.quantiser.size, denoiser.setting("length"), PER_STEP)
        pipeline = AudioPipeline(
            load_part(AudioCodec, pack.part("audio_codec"), device),
            denoiser,
            load_part(CaptionEncoder, pack.part("audio_caption"), device),
            load_part(Styles, pack.part("audio_styles"), device),
            load_part(Vocoder, pack.part("vocoder"), device),
        )
        self._drawer = Drawer(pipeline, load_projection(pack, AUDIO, device), device)

    def compose(self, drawing: Drawing, on_step: OnStep) -> Sound:
        """One piece."""
        return Sound(self._drawer.draw(drawing, on_step).audios[0], SAMPLE_RATE)
