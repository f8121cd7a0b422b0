"""Sound from any file with a sound track: mono, at one sample rate."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import InvalidDataError
from numpy.typing import NDArray

from anygpt_models.input import refusal
from anygpt_models.input.clips import Clips
from anygpt_models.input.container import first_sound, is_exact, opened_container, stream_seconds
from anygpt_models.input.cut import is_cut
from anygpt_models.input.source import Source

_TOLERATED: Final = 0.9
"""Share of the header's duration that must be there; encoders' padding and rounding take less."""
_FILTER: Final = 32
"""Samples that the resampler's filter spans: of a sound with fewer it makes none, and silence is what it is."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """How a sound is brought to samples."""

    sample_rate: int = 16_000
    channel: Literal["mean", "first"] = "mean"
    cut_s: float = 0.0
    """What comes later is not decoded; 0: all."""


def open_waveform(source: Source, hearing: Hearing | None = None) -> NDArray[np.float32]:
    """Samples [S] in -1..1 of the first sound track. Loudness is left as it is.

    Raises MEDIA_UNSUPPORTED without a sound track, MEDIA_TOO_LONG by header or count, MEDIA_TRUNCATED.
    """
    hearing = hearing or Hearing()
    with opened_container(source) as container:
        stream = first_sound(container, source)
        if stream is None:
            raise refusal.unsupported("the media have no sound", source.field)
        promised = stream_seconds(container, stream)
        source.check_duration(promised)
        exact = is_exact(container)
        samples = _decoded(container, stream, hearing, source)
    if is_cut(source):
        raise refusal.truncated(source.field)
    wanted = min(promised, hearing.cut_s) if hearing.cut_s else promised
    if not samples.size and 0 < promised * hearing.sample_rate < _FILTER:
        return np.zeros(1, dtype=np.float32)
    if not samples.size:
        raise refusal.truncated(source.field) if promised else refusal.unreadable(source.field)
    if exact and samples.size < _TOLERATED * wanted * hearing.sample_rate - hearing.sample_rate / 10:
        raise refusal.truncated(source.field)
    return samples


def spread(samples: NDArray[np.float32], clips: Clips, sample_rate: int) -> NDArray[np.float32]:
    """Samples [S] -> windows [C, window], short ones padded with silence at the end."""
    window = round(clips.window_s * sample_rate)
    starts = [round(start * sample_rate) for start in clips.starts(samples.size / sample_rate)]
    pieces = [samples[start : start + window] for start in starts]
    return np.stack([np.pad(piece, (0, window - piece.size)) for piece in pieces])


def _decoded(
    container: InputContainer, stream: AudioStream, hearing: Hearing, source: Source
) -> NDArray[np.float32]:
    most = round(source.limits.media_duration_ms / 1000 * hearing.sample_rate)
    enough = round(hearing.cut_s * hearing.sample_rate) or most + 1
    pieces: list[NDArray[np.float32]] = []
    count = 0
    for piece in _pieces(container, stream, hearing):
        pieces.append(piece)
        count += piece.size
        if count > most:
            raise refusal.too_long(source.limits.media_duration_ms, source.field)
        if count >= enough:
            break
    if not pieces:
        return np.zeros(0, dtype=np.float32)
    samples = np.nan_to_num(np.concatenate(pieces), posinf=0.0, neginf=0.0)
    return np.clip(samples[:enough], -1.0, 1.0)


def _pieces(
    container: InputContainer, stream: AudioStream, hearing: Hearing
) -> Iterator[NDArray[np.float32]]:
    """Resampled samples. Channels are mixed here: FFmpeg's own mix makes two equal channels 3 dB louder.

    They come in one plane: PyAV looks for the planes of eight channels and more beyond the end of their list.
    """
    for _, alike in itertools.groupby(_frames(container, stream), _form):
        # Joined files can go on in other channels or at another rate, which one resampler does not follow.
        resampler = AudioResampler(format="flt", rate=hearing.sample_rate)
        for frame in itertools.chain(alike, [None]):
            for part in resampler.resample(frame):
                channels = part.to_ndarray().astype(np.float32, copy=False).reshape(part.samples, -1)
                yield (
                    channels[:, 0] if hearing.channel == "first" else channels.mean(axis=1, dtype=np.float32)
                )


def _form(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Frames in order; a damaged packet is skipped, as players do."""
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except EndOfFile:
            return
        except InvalidDataError:
            continue
        for frame in frames:
            frame.pts = None
            yield frame
