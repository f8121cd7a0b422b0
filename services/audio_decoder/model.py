"""The models that compose music and sounds: the pack's own, a published pipeline, or a published codec."""

from __future__ import annotations

import torch

from anygpt.pack import Pack
from anygpt.topology import AUDIO
from anygpt_models.audio_codec import PER_STEP
from anygpt_models.audio_pipeline import AudioPipeline
from anygpt_models.output import Sound
from anygpt_models.published.drawing import audio_pipeline
from anygpt_models.published.loading import class_of
from anygpt_models.published.music import ENCODEC, MusicCodec
from anygpt_models.serving.drawing import Drawer, Drawing, OnStep, Pipeline, load_projection
from anygpt_models.serving.spans import CodeSpace


class Composer:
    """A condition or codes -> sound at the pack's rate."""

    def __init__(self, pack: Pack, device: torch.device) -> None:
        pipeline, self.code_space = _opened(pack, device)
        self._sample_rate = pack.outputs[AUDIO].sample_rate
        self._drawer = Drawer(pipeline, load_projection(pack, AUDIO, device), device)

    def compose(self, drawing: Drawing, on_step: OnStep) -> Sound:
        """One piece."""
        return Sound(self._drawer.draw(drawing, on_step).audios[0], self._sample_rate)


def _opened(pack: Pack, device: torch.device) -> tuple[Pipeline, CodeSpace]:
    if pack.has("audio_pipeline"):
        return audio_pipeline(pack, device)
    if pack.has("audio_codec") and class_of(pack.part("audio_codec")) == ENCODEC:
        codec = MusicCodec(pack, device)
        return codec, codec.code_space
    return _own(pack, device)


def _own(pack: Pack, device: torch.device) -> tuple[AudioPipeline, CodeSpace]:
    pipeline = AudioPipeline.assemble(pack.folder).to(device)
    denoiser = pipeline.audio_denoiser
    return pipeline, CodeSpace(
        denoiser.quantiser.size, denoiser.setting("length"), PER_STEP, least=2 * PER_STEP
    )
