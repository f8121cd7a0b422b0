"""Videos and sounds through FFmpeg: only formats that can name no other file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import DecoderNotFoundError, FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from anygpt_models.input import refusal
from anygpt_models.input.source import Source

FORMATS: Final = (
    "aac,ac3,aiff,amr,apng,asf,au,avi,caf,eac3,flac,flv,gif,ivf,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,"
    "mpegts,mxf,nut,ogg,oma,rm,tta,voc,w64,wav,wv"
)
"""Demuxers that read one file; playlists, subtitles and devices are not among them."""

_OPTIONS: Final = {"format_whitelist": FORMATS, "probesize": "2000000", "analyzeduration": "4000000"}
_EXACT: Final = frozenset({"wav", "w64", "flac", "aiff", "mov,mp4,m4a,3gp,3g2,mj2", "au", "caf"})
_MAX_CHANNELS: Final = 64
_MAX_SAMPLE_RATE: Final = 768_000


@contextmanager
def opened_container(source: Source) -> Iterator[InputContainer]:
    """A container with its header read. What goes wrong inside is translated to a refusal."""
    with source.opened() as file:
        try:
            with av.open(file, mode="r", options=dict(_OPTIONS), metadata_errors="replace") as container:
                yield container
        except DecoderNotFoundError as error:
            raise refusal.unsupported("the media's codec is not known here", source.field) from error
        except EOFError as error:
            raise refusal.truncated(source.field) from error
        except (FFmpegError, ValueError, LookupError, ArithmeticError, MemoryError) as error:
            raise _refusal(source) from error


def first_video(container: InputContainer, source: Source) -> VideoStream | None:
    """The first stream of moving pictures, its size checked; cover art does not count."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            source.check_pixels(stream.codec_context.width, stream.codec_context.height)
            return stream
    return None


def first_sound(container: InputContainer, source: Source) -> AudioStream | None:
    """The first sound track, its rate and channels checked."""
    for stream in container.streams.audio:
        if stream.codec_context is not None and stream.codec_context.sample_rate:
            if stream.channels > _MAX_CHANNELS or stream.sample_rate > _MAX_SAMPLE_RATE:
                raise refusal.too_large("the sound has too many channels or samples", source.field)
            return stream
    return None


def stream_seconds(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """How long the header says a stream lasts; 0 when it does not say."""
    if stream.duration and stream.time_base and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return max(0.0, (container.duration or 0) / av.time_base)


def is_exact(container: InputContainer) -> bool:
    """Whether the header of this format knows the duration, so that less means a truncated file."""
    return container.format.name in _EXACT


def _refusal(source: Source) -> Exception:
    """A file with the head of an MP4 but no index was cut off: its index comes last."""
    head = source.head(12)
    is_cut = head[4:8] == b"ftyp"
    return refusal.truncated(source.field) if is_cut else refusal.unreadable(source.field)
