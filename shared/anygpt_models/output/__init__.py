"""Adaptation of output: what decoders make to the file that a request asks for. Imports no torch."""

from __future__ import annotations

from anygpt_models.output.files import encode, fitted
from anygpt_models.output.media import Clip, Media, Picture, Sound
from anygpt_models.output.steps import Step, apply, plan

__all__ = ["Clip", "Media", "Picture", "Sound", "Step", "apply", "encode", "fitted", "plan"]
