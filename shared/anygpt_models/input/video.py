"""Moving pictures from any video or animated image: upright RGB frames at the times asked for."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import InvalidDataError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from anygpt_models.input import refusal
from anygpt_models.input.animation import Animation, animation_of
from anygpt_models.input.clips import Clips
from anygpt_models.input.container import first_video, is_exact, opened_container
from anygpt_models.input.picture import BACKGROUND, opened_picture, pixels, srgb
from anygpt_models.input.source import Source

Picture: TypeAlias = NDArray[np.uint8]
Fitter: TypeAlias = Callable[[Picture], Picture]
Timed: TypeAlias = tuple[float, Callable[[], Picture]]
"""When a frame begins, in seconds, and how to convert it should it be wanted."""

_SEEK_S: Final = 4.0
"""A gap longer than this is jumped over; a shorter one is decoded through."""
_TOLERATED: Final = 0.8
"""Share of the header's duration that must be there."""
_ROUNDING_S: Final = 1e-6
_WORKING_SIDE: Final = 1024


@dataclass(frozen=True, slots=True)
class Viewing:
    """Which frames are looked at: `frames` of each clip, evenly spaced, the first at the clip's start."""

    clips: Clips
    frames: int
    to_end: bool = False
    """Whether the last frame is that at the clip's end, rather than one step before it."""

    def times(self, duration_s: float) -> list[float]:
        """Seconds of all wanted frames, clip after clip."""
        step = self.clips.window_s / max(1, self.frames - 1 if self.to_end else self.frames)
        starts = self.clips.starts(duration_s)
        return [start + step * place for start in starts for place in range(self.frames)]


def open_video(source: Source, viewing: Viewing, fit: Fitter) -> Picture:
    """Frames [C, T, H, W, 3] of the first video stream, each through `fit`, which gives all the same size.

    The frame at a time is the last that began before it: a variable frame rate and the end of a short video hold
    their picture. Raises MEDIA_UNSUPPORTED without pictures, and what else is in `refusal`.
    """
    animation = animation_of(source)
    if animation is not None:
        seconds = sum(animation.durations)
        source.check_duration(seconds)
        times = viewing.times(seconds)
        chosen = _chosen(_animated(source, animation), times, fit)
    else:
        times, chosen = _from_container(source, viewing, fit)
    if not chosen:
        raise refusal.unreadable(source.field)
    frames = np.stack([chosen[time] for time in times])
    return frames.reshape(-1, viewing.frames, *frames.shape[1:])


@dataclass(frozen=True, slots=True)
class Extent:
    """When the pictures of a stream begin and how long they last, in seconds."""

    start_s: float
    duration_s: float
    packets: int


def counted(container: InputContainer, stream: VideoStream | AudioStream, source: Source) -> Extent:
    """The extent of a stream by its packets, which are not decoded. Raises MEDIA_TOO_LONG."""
    start, end, packets = None, 0.0, 0
    for packet in container.demux(stream):
        if packet.pts is None or packet.time_base is None:
            continue
        packets += 1
        shown = float(packet.pts * packet.time_base)
        start = shown if start is None else min(start, shown)
        end = max(end, shown + float((packet.duration or 0) * packet.time_base))
        source.check_duration(end - start)
    return Extent(start or 0.0, max(0.0, end - (start or 0.0)), packets)


def upright(frame: VideoFrame, aspect: Fraction | None = None) -> Picture:
    """A decoded frame as RGB [H, W, 3]: square pixels, turned as asked, alpha over `BACKGROUND`.

    A frame larger than `_WORKING_SIDE` is scaled down to it first: encoders look at less, and memory stays small.
    """
    width, height = frame.width * float(aspect or 1), float(frame.height)
    scale = min(1.0, _WORKING_SIDE / max(width, height))
    has_alpha = any(component.is_alpha for component in frame.format.components)
    scaled = frame.reformat(
        max(1, round(width * scale)), max(1, round(height * scale)), "rgba" if has_alpha else "rgb24",
        interpolation="AREA" if scale < 1 else "BICUBIC",
    )  # fmt: skip
    layers = scaled.to_ndarray().astype(np.uint8, copy=False)
    picture = _over_background(layers) if has_alpha else layers
    return np.ascontiguousarray(np.rot90(picture, k=round(frame.rotation / 90)))


def _over_background(layers: NDArray[np.uint8]) -> Picture:
    wide = layers.astype(np.uint16)
    alpha = wide[..., 3:]
    mixed = wide[..., :3] * alpha + np.array(BACKGROUND, dtype=np.uint16) * (255 - alpha)
    return ((mixed + 127) // 255).astype(np.uint8)


def _from_container(
    source: Source, viewing: Viewing, fit: Fitter
) -> tuple[list[float], dict[float, Picture]]:
    with opened_container(source) as container:
        stream = _pictures(container, source)
        promised = float((stream.duration or 0) * (stream.time_base or 0))
        source.check_duration(promised)
        extent = counted(container, stream, source)
        if is_exact(container) and extent.duration_s < _TOLERATED * promised - 0.5:
            raise refusal.truncated(source.field)
    times = viewing.times(min(extent.duration_s, promised or extent.duration_s))
    with opened_container(source) as container:
        frames = _frames(container, _pictures(container, source), extent, times)
        return times, _chosen(frames, times, fit)


def _pictures(container: InputContainer, source: Source) -> VideoStream:
    stream = first_video(container, source)
    if stream is None:
        raise refusal.unsupported("the media have no moving pictures", source.field)
    stream.codec_context.thread_count = 1
    stream.codec_context.options = {"max_pixels": str(source.limits.image_pixels)}
    return stream


def _frames(
    container: InputContainer, stream: VideoStream, extent: Extent, times: list[float]
) -> Iterator[Timed]:
    """The frames around the wanted times: what lies between distant times is jumped over."""
    aspect = stream.sample_aspect_ratio
    for first, last in _runs(times):
        if first > _SEEK_S and container.duration and stream.time_base:
            container.seek(round((extent.start_s + first) / stream.time_base), stream=stream)
        for frame in _decoded(container, stream):
            began = (frame.time if frame.pts is not None else 0.0) - extent.start_s
            yield began, partial(upright, frame, aspect)
            if began > last:
                break


def _runs(times: list[float]) -> list[tuple[float, float]]:
    """First and last of each run of times that are closer than `_SEEK_S`."""
    ordered = sorted(times)
    cuts = [place for place in range(1, len(ordered)) if ordered[place] - ordered[place - 1] > _SEEK_S]
    bounds = [0, *cuts, len(ordered)]
    return [(ordered[first], ordered[last - 1]) for first, last in itertools.pairwise(bounds)]


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames in order; a damaged packet is skipped, as players do."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except EndOfFile:
            return
        except InvalidDataError:
            continue


def _animated(source: Source, animation: Animation) -> Iterator[Timed]:
    began = [0.0, *itertools.accumulate(animation.durations)]
    with opened_picture(source) as image:
        source.check_animation(*image.size, len(animation.durations))
        for place in range(len(animation.durations)):
            image.seek(animation.first + place)
            yield began[place], partial(_still, image.copy())


def _still(image: Image.Image) -> Picture:
    return pixels(srgb(image))


def _chosen(frames: Iterator[Timed], times: list[float], fit: Fitter) -> dict[float, Picture]:
    """The picture at each time: frames come in order, and only those that are shown are converted."""
    wanted = deque(sorted(set(times)))
    chosen: dict[float, Picture] = {}
    for picture, ends in _with_ends(frames):
        due = []
        while wanted and wanted[0] < ends - _ROUNDING_S:
            due.append(wanted.popleft())
        if due:
            chosen.update(dict.fromkeys(due, fit(picture())))
        if not wanted:
            break
    return chosen


def _with_ends(frames: Iterator[Timed]) -> Iterator[tuple[Callable[[], Picture], float]]:
    """Each frame with the time at which the next begins."""
    shown: Callable[[], Picture] | None = None
    for began, picture in frames:
        if shown is not None:
            yield shown, began
        shown = picture
    if shown is not None:
        yield shown, math.inf
