"""What a request may ask of produced media, checked at every door before any work."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from anygpt.errors import InvalidInput, TooLarge
from anygpt.pack import OutputEntry
from anygpt.topology import AUDIO, IMAGE, MODALITY_NAMES, SPEECH, VIDEO, Modality
from anygpt.v1 import stages_pb2, types_pb2
from anygpt_models.output.picture_steps import Resize
from anygpt_models.output.rates import FASTEST_GIF, RATES

LARGEST_FRAME: Final = (1920, 1920 * 1088)
"""Longest side and most pixels of a frame of video."""
LARGEST_CLIP: Final = 160_000_000
"""Most pixels of all frames of a clip, which are in memory at once, some times over: half a gigabyte each."""
_SEEN: Final = frozenset({IMAGE, VIDEO})
_HEARD: Final = frozenset({SPEECH, AUDIO})
_TIMED: Final = frozenset({VIDEO, AUDIO})
_DRAWN: Final = frozenset({IMAGE, VIDEO, AUDIO})


@dataclass(frozen=True, slots=True)
class _Range:
    low: float
    high: float
    served: frozenset[Modality]


_RANGES: Final[Mapping[str, _Range]] = {
    "width": _Range(16, 4096, _SEEN),
    "height": _Range(16, 4096, _SEEN),
    "frame_rate": _Range(1, 60, frozenset({VIDEO})),
    "sample_rate": _Range(8000, 48000, _HEARD),
    "loudness_lufs": _Range(-40, -5, _HEARD),
    "denoise": _Range(0, 1, _SEEN | _HEARD),
    "sharpen": _Range(0, 1, _SEEN),
}
_DIFFUSION: Final[Mapping[str, _Range]] = {
    "steps": _Range(1, 100, _DRAWN),
    "guidance": _Range(0, 20, _DRAWN),
}


@dataclass(frozen=True, slots=True)
class Diffusion:
    """How a decoder denoises; without a scheduler, by the pipeline's own."""

    steps: int
    guidance: float
    scheduler: str = ""


def check_options(
    options: types_pb2.OutputOptions, modality: Modality, entry: OutputEntry, field: str = "output"
) -> None:
    """Raise InvalidInput naming the first option, as `<field>.<name>`, that the pack does not serve."""
    if options.modality not in (types_pb2.MODALITY_UNSPECIFIED, modality):
        raise InvalidInput("the options are for another modality", field=f"{field}.modality")
    if options.format and options.format not in entry.formats:
        known = ", ".join(entry.formats) or "it is"
        raise InvalidInput(
            f"{MODALITY_NAMES[modality]} comes as {known}", reason="FORMAT_UNKNOWN", field=f"{field}.format"
        )
    for set_field, value in options.ListFields():
        if set_field.name in _RANGES:
            _check(value, _RANGES[set_field.name], modality, f"{field}.{set_field.name}")
    for set_field, value in options.diffusion.ListFields():
        if set_field.name in _DIFFUSION:
            _check(value, _DIFFUSION[set_field.name], modality, f"{field}.diffusion.{set_field.name}")
    _check_scheduler(options.diffusion.scheduler, modality, entry, f"{field}.diffusion.scheduler")
    if options.duration_s:
        _check(options.duration_s, _Range(0.1, entry.duration_s, _TIMED), modality, f"{field}.duration_s")
    _check_form(options, options.format or (*entry.formats, "")[0], field)
    if modality == VIDEO:
        _check_frame(options, entry, field)


def diffusion_of(options: types_pb2.OutputOptions, entry: OutputEntry) -> Diffusion:
    """What the request asks, or the pack's default."""
    asked = options.diffusion
    return Diffusion(
        asked.steps if asked.HasField("steps") else entry.steps,
        asked.guidance if asked.HasField("guidance") else entry.guidance,
        asked.scheduler,
    )


def span_seed(request: stages_pb2.DecodeRequest) -> int:
    """The seed of one span, 0 to 2^62: two spans of one request are not drawn alike."""
    digest = hashlib.sha256(f"{request.seed}:{request.span_index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def _check(value: float, limits: _Range, modality: Modality, field: str) -> None:
    if modality not in limits.served:
        raise InvalidInput(
            f"{MODALITY_NAMES[modality]} has no such option", reason="OPTION_UNKNOWN", field=field
        )
    if not limits.low <= value <= limits.high:
        raise InvalidInput(
            f"the value is not in {limits.low:g} to {limits.high:g}", reason="OUT_OF_BOUNDS", field=field
        )


def _check_scheduler(asked: str, modality: Modality, entry: OutputEntry, field: str) -> None:
    if asked and asked not in entry.schedulers:
        known = ", ".join(entry.schedulers) or "its own alone"
        raise InvalidInput(
            f"{MODALITY_NAMES[modality]} is drawn by {known}", reason="SCHEDULER_UNKNOWN", field=field
        )


def _check_form(options: types_pb2.OutputOptions, form: str, field: str) -> None:
    """Refuse what the format of the file cannot hold."""
    rates = RATES.get(form)
    if rates and options.sample_rate and options.sample_rate not in rates:
        known = ", ".join(map(str, rates))
        raise InvalidInput(f"{form} has {known} Hz", reason="OUT_OF_BOUNDS", field=f"{field}.sample_rate")
    if form == "gif" and options.frame_rate > FASTEST_GIF:
        raise InvalidInput(
            f"a gif has at most {FASTEST_GIF:g} frames a second",
            reason="OUT_OF_BOUNDS",
            field=f"{field}.frame_rate",
        )


def _check_frame(options: types_pb2.OutputOptions, entry: OutputEntry, field: str) -> None:
    """Refuse frames too large to hold, one or all of them, also where one side follows from the other."""
    own = entry.width or 1, entry.height or 1
    is_sized = options.width or options.height
    width, height = Resize(options.width, options.height).size(*own) if is_sized else own
    frames = (options.duration_s or entry.duration_s) * (options.frame_rate or entry.frame_rate or 1)
    if width * height * frames > LARGEST_CLIP:
        raise TooLarge(
            f"a clip has at most {LARGEST_CLIP} pixels in all its frames", field=f"{field}.frame_rate"
        )
    if not is_sized:
        return
    side, pixels = LARGEST_FRAME
    if max(width, height) > side or width * height > pixels:
        name = "width" if options.width >= options.height else "height"
        raise TooLarge(
            f"a frame of video has at most {side} x {pixels // side} pixels", field=f"{field}.{name}"
        )
