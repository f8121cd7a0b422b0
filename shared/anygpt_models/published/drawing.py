"""Stable Diffusion, text-to-video and AudioLDM under a condition in the space of their own text encoders."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anygpt.errors import Unserved
from anygpt.pack import OutputEntry, Pack
from anygpt.topology import AUDIO, IMAGE, VIDEO
from anygpt_models.audio_pipeline import AudioOutput
from anygpt_models.code_pipeline import OnStepEnd
from anygpt_models.image_pipeline import ImageOutput
from anygpt_models.published.loading import class_of, open_pipeline
from anygpt_models.published.schedulers import alone
from anygpt_models.seed_detokeniser import SeedDetokeniser
from anygpt_models.serving.device import load_part
from anygpt_models.serving.drawing import Pipeline
from anygpt_models.serving.spans import CodeSpace
from anygpt_models.video_pipeline import VideoOutput

NO_CODES = CodeSpace(0)
UNCLIP = "StableUnCLIPImg2ImgPipeline"


def image_pipeline(pack: Pack, device: torch.device) -> tuple[Pipeline, CodeSpace]:
    """The painter of a pack with the part `image_pipeline`, and the codes that it takes."""
    folder, entry = pack.part("image_pipeline"), pack.outputs[IMAGE]
    if class_of(folder) == UNCLIP:
        detokeniser = load_part(SeedDetokeniser, pack.part("image_detokeniser"), device)
        painter = UnClipPainter(open_pipeline(folder, UNCLIP, device), detokeniser, entry)
        return painter, CodeSpace(detokeniser.setting("codebook"), detokeniser.setting("length"))
    return Painter(open_pipeline(folder, "StableDiffusionPipeline", device), entry), NO_CODES


def video_pipeline(pack: Pack, device: torch.device) -> tuple[Pipeline, CodeSpace]:
    """The painter of a pack with the part `video_pipeline`."""
    pipeline = open_pipeline(pack.part("video_pipeline"), "TextToVideoSDPipeline", device)
    return FilmPainter(pipeline, pack.outputs[VIDEO]), NO_CODES


def audio_pipeline(pack: Pack, device: torch.device) -> tuple[Pipeline, CodeSpace]:
    """The composer of a pack with the part `audio_pipeline`."""
    pipeline = open_pipeline(pack.part("audio_pipeline"), "AudioLDMPipeline", device)
    return SoundPainter(pipeline, pack.outputs[AUDIO]), NO_CODES


class Painter:
    """Stable Diffusion; the empty caption, from which guidance leads away, comes from its own text encoder."""

    def __init__(self, pipeline: Any, entry: OutputEntry) -> None:
        self._pipeline = pipeline
        self._entry = entry

    @torch.no_grad()
    def __call__(
        self,
        caption: list[str] | None = None,
        condition: Tensor | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        generator: list[torch.Generator] | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """One of caption and condition [B, queries, width]."""
        told = {"prompt": caption} if condition is None else {"prompt_embeds": self.fitted(condition)}
        made = self._pipeline(
            **told, **self.native(), **self.reporting(callback_on_step_end, num_inference_steps),
            num_inference_steps=num_inference_steps, guidance_scale=guidance_scale, generator=generator,
            output_type="np",
        )  # fmt: skip
        return self.output(made)

    def with_scheduler(self, name: str) -> Self:
        """The painter of one drawing."""
        chosen = copy.copy(self)
        chosen._pipeline = alone(self._pipeline, name)
        return chosen

    def fitted(self, condition: Tensor) -> Tensor:
        """A condition in the shape that the pipeline takes."""
        return condition

    def native(self) -> Mapping[str, Any]:
        """Sizes, as the pack sets them."""
        return {"width": self._entry.width, "height": self._entry.height}

    def reporting(self, callback: OnStepEnd | None, steps: int) -> Mapping[str, Any]:
        """How the pipeline is told to report its steps."""

        def report(_: Any, step: int, _time: Any, values: dict[str, Any]) -> dict[str, Any]:
            return _reported(callback, self._pipeline, step, values)

        return {"callback_on_step_end": report}

    def output(self, made: Any) -> Any:
        """What the pipeline made, as ours gives it."""
        return ImageOutput(images=_to_bytes(made.images), codes=torch.zeros(0))


class _OldPainter(Painter):
    """Pipelines whose callback is the older one: step, time, latents."""

    def reporting(self, callback: OnStepEnd | None, steps: int) -> Mapping[str, Any]:
        """See Painter."""

        def report(step: int, _time: Any, _latents: Tensor) -> None:
            _reported(callback, self._pipeline, step, {})

        return {"callback": report, "callback_steps": 1}


class FilmPainter(_OldPainter):
    """Text-to-video (ModelScope, Zeroscope)."""

    def native(self) -> Mapping[str, Any]:
        """See Painter."""
        frames = round(self._entry.duration_s * self._entry.frame_rate)
        return {"width": self._entry.width, "height": self._entry.height, "num_frames": frames}

    def output(self, made: Any) -> VideoOutput:
        """See Painter."""
        return VideoOutput(frames=_to_bytes(made.frames), codes=torch.zeros(0))


class SoundPainter(_OldPainter):
    """AudioLDM, whose condition is one vector of CLAP."""

    def fitted(self, condition: Tensor) -> Tensor:
        """See Painter."""
        return condition[:, 0]

    def native(self) -> Mapping[str, Any]:
        """See Painter."""
        return {"audio_length_in_s": self._entry.duration_s}

    def output(self, made: Any) -> AudioOutput:
        """See Painter."""
        return AudioOutput(audios=np.clip(made.audios, -1.0, 1.0).astype(np.float32), codes=torch.zeros(0))


class UnClipPainter(_OldPainter):
    """AnyGPT's: 32 codes -> CLIP's embedding of a picture -> Stable Diffusion unCLIP, no noise on the embedding."""

    def __init__(self, pipeline: Any, detokeniser: SeedDetokeniser, entry: OutputEntry) -> None:
        super().__init__(pipeline, entry)
        self._detokeniser = detokeniser

    @torch.no_grad()
    def __call__(  # type: ignore[override]
        self,
        codes: Tensor | None = None,
        caption: list[str] | None = None,
        num_inference_steps: int = 20,
        guidance_scale: float = 10.0,
        generator: list[torch.Generator] | None = None,
        callback_on_step_end: OnStepEnd | None = None,
    ) -> Any:
        """Codes [B, 32]. Raises Unserved for a caption."""
        if codes is None:
            raise Unserved("this decoder draws from codes", field="caption")
        made = self._pipeline(
            image_embeds=self._detokeniser(codes), prompt=[""] * len(codes), noise_level=0, **self.native(),
            **self.reporting(callback_on_step_end, num_inference_steps), num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale, generator=generator, output_type="np",
        )  # fmt: skip
        return self.output(made)


def _reported(callback: OnStepEnd | None, pipeline: Any, step: int, values: dict[str, Any]) -> dict[str, Any]:
    """A step as our own pipelines report it: from 0, with the number of steps that are left."""
    if callback is not None:
        callback(pipeline, step, max(0, len(pipeline.scheduler.timesteps) - step - 1), {})
    return values


def _to_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.round(np.clip(np.nan_to_num(pixels), 0.0, 1.0) * 255).astype(np.uint8)
