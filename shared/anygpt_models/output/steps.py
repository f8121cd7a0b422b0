"""Post-processing as typed steps in a fixed order, each of which reports what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from anygpt.topology import IMAGE, VIDEO, Modality
from anygpt.v1 import types_pb2
from anygpt_models.output.media import Media
from anygpt_models.output.motion_steps import Interpolate
from anygpt_models.output.picture_steps import Denoise, Resize, Sharpen
from anygpt_models.output.sound_steps import DenoiseSound, Limit, Loudness, Resample


class Step(Protocol):
    """One step of post-processing."""

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """The changed media, and what changed."""
        ...


def plan(modality: Modality, options: types_pb2.OutputOptions) -> list[Step]:
    """The steps that the options ask for, in their fixed order.

    Seen: denoise, interpolate, resize, sharpen. Heard: denoise, resample, loudness, limit.
    """
    return list(_seen(options) if modality in (IMAGE, VIDEO) else _heard(options))


def apply(steps: Sequence[Step], media: Media) -> tuple[Media, list[types_pb2.StepReport]]:
    """Run the steps in order."""
    reports = []
    for step in steps:
        media, report = step.apply(media)
        reports.append(report)
    return media, reports


def _seen(options: types_pb2.OutputOptions) -> Iterator[Step]:
    if options.denoise:
        yield Denoise(options.denoise)
    if options.frame_rate:
        yield Interpolate(options.frame_rate)
    if options.width or options.height:
        yield Resize(options.width, options.height)
    if options.sharpen:
        yield Sharpen(options.sharpen)


def _heard(options: types_pb2.OutputOptions) -> Iterator[Step]:
    if options.denoise:
        yield DenoiseSound(options.denoise)
    if options.sample_rate:
        yield Resample(options.sample_rate)
    if options.HasField("loudness_lufs"):
        yield Loudness(options.loudness_lufs)
        yield Limit()
