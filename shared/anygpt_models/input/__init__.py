"""Adaptation of input: any image, video or sound file to what encoders take. Imports no torch."""

from __future__ import annotations

from anygpt_models.input.apart import MediaReader
from anygpt_models.input.clips import Clips
from anygpt_models.input.fit import Fit
from anygpt_models.input.image import open_image
from anygpt_models.input.probe import MediaFacts, probe, probe_claimed
from anygpt_models.input.source import Source
from anygpt_models.input.video import Viewing, open_video
from anygpt_models.input.waveform import Hearing, open_waveform, spread

__all__ = [
    "Clips", "Fit", "Hearing", "MediaFacts", "MediaReader", "Source", "Viewing",
    "open_image", "open_video", "open_waveform", "probe", "probe_claimed", "spread",
]  # fmt: skip
