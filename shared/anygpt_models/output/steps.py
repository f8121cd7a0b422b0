"""Post-processing as typed steps in a fixed order, each of which reports what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

from anygpt.errors import InvalidInput, TooLarge
from anygpt.topology import IMAGE, VIDEO, Modality
from anygpt.v1 import types_pb2
from anygpt_models.output.media import Media
from anygpt_models.output.motion_steps import Interpolate
from anygpt_models.output.picture_steps import Denoise, Resize, Sharpen
from anygpt_models.output.sound_steps import DenoiseSound, Limit, Loudness, Resample

LARGEST_FRAME: Final = (1920, 1920 * 1088)
"""Longest side and most pixels of a frame of video: all frames of a clip are in memory at once."""


class Step(Protocol):
    """One step of post-processing."""

    def apply(self, media: Media) -> tuple[Media, types_pb2.StepReport]:
        """The changed media, and what changed."""
        ...


def plan(modality: Modality, options: types_pb2.OutputOptions) -> list[Step]:
    """The steps that the options ask for, in their fixed order. Raises InvalidInput with field `output.<name>`.

    Seen: denoise, interpolate, resize, sharpen. Heard: denoise, resample, loudness, limit.
    """
    _check(modality, options)
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


def _check(modality: Modality, options: types_pb2.OutputOptions) -> None:
    """Refuse what is not for this modality, and frames of video too large to hold."""
    unfit = ["sample_rate", "loudness_lufs"] if modality in (IMAGE, VIDEO) else ["width", "height", "sharpen"]
    unfit += [] if modality == VIDEO else ["frame_rate"]
    for option, _ in options.ListFields():
        if option.name in unfit:
            raise InvalidInput(
                "the modality has no such option", reason="OPTION", field=f"output.{option.name}"
            )
    side, pixels = LARGEST_FRAME
    if modality == VIDEO and (
        max(options.width, options.height) > side or options.width * options.height > pixels
    ):
        field = "output.width" if options.width >= options.height else "output.height"
        raise TooLarge(f"a frame of video has at most {side} x {pixels // side} pixels", field=field)
