"""Media to files, through Pillow and FFmpeg, each with its mark; the same media give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from anygpt.v1 import types_pb2
from anygpt_models.output.mark import COMMENT, XMP, XMP_KEY
from anygpt_models.output.media import Clip, Media, Picture, Sound
from anygpt_models.output.picture_steps import Pad, first_frame
from anygpt_models.output.rates import RATES
from anygpt_models.output.sound_steps import Resample


@dataclass(frozen=True, slots=True)
class _Form:
    media_type: str
    writer: str
    codec: str = ""
    pixels: str = "yuv420p"
    options: Mapping[str, Any] = field(default_factory=dict)


_PICTURES: Final[Mapping[str, _Form]] = {
    "png": _Form("image/png", "PNG", options={"compress_level": 6}),
    "jpeg": _Form("image/jpeg", "JPEG", options={"quality": 92, "subsampling": 0}),
    "webp": _Form("image/webp", "WEBP", options={"quality": 92, "method": 4}),
}
_CLIPS: Final[Mapping[str, _Form]] = {
    "mp4": _Form("video/mp4", "mp4", "libx264", options={"crf": "18", "preset": "medium", "threads": "1"}),
    "webm": _Form(
        "video/webm", "webm", "libvpx-vp9", options={"crf": "24", "b": "0", "cpu-used": "5", "threads": "1"}
    ),
    "gif": _Form("image/gif", "gif"),
}
_SOUNDS: Final[Mapping[str, _Form]] = {
    "wav": _Form("audio/wav", "wav", "pcm_s16le"),
    "flac": _Form("audio/flac", "flac", "flac"),
    "ogg": _Form("audio/ogg", "ogg", "libopus"),
    "mp3": _Form("audio/mpeg", "mp3", "libmp3lame"),
}


def fitted(media: Media, form: str) -> tuple[Media, list[types_pb2.StepReport]]:
    """The media as a file of this format can hold them, and what that changed."""
    step: Pad | Resample
    if isinstance(media, Sound) and media.sample_rate not in RATES.get(form, (media.sample_rate,)):
        step = Resample(
            min((rate for rate in RATES[form] if rate > media.sample_rate), default=RATES[form][-1])
        )
    elif form == "mp4" and any(side % 2 for side in first_frame(media).shape[:2]):
        step = Pad()
    else:
        return media, []
    done, report = step.apply(media)
    return done, [report]


def encode(media: Media, form: str) -> tuple[bytes, str]:
    """The file of `fitted` media, and its media type; `form` is a picture's, a clip's or a sound's."""
    if isinstance(media, Picture):
        chosen = _PICTURES[form]
        return _picture(media, chosen), chosen.media_type
    if isinstance(media, Clip):
        chosen = _CLIPS[form]
        return _gif(media) if form == "gif" else _clip(media, chosen), chosen.media_type
    chosen = _SOUNDS[form]
    return _sound(media, chosen), chosen.media_type


def _picture(media: Picture, form: _Form) -> bytes:
    file = io.BytesIO()
    Image.fromarray(media.pixels).save(file, form.writer, **form.options, **_mark(form.writer))
    return file.getvalue()


def _mark(writer: str) -> dict[str, Any]:
    if writer != "PNG":
        return {"xmp": XMP.encode()}
    chunks = PngInfo()
    chunks.add_itxt(XMP_KEY, XMP)
    return {"pnginfo": chunks}


def _gif(media: Clip) -> bytes:
    """One palette for all frames, counted on a few of them; frames stand for whole hundredths of a second."""
    file = io.BytesIO()
    pictures = [Image.fromarray(frame) for frame in media.frames]
    some = np.concatenate(media.frames[:: -(-len(pictures) // 8)])
    palette = Image.fromarray(some).quantize(256, Image.Quantize.MEDIANCUT)
    first, *rest = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
    ends = np.rint(100.0 * np.arange(1, len(pictures) + 1) / media.frame_rate)
    durations = [10 * int(hundredths) for hundredths in np.diff(ends, prepend=0.0)]
    first.save(
        file, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False,
        comment=COMMENT.encode(),
    )  # fmt: skip
    return file.getvalue()


def _clip(media: Clip, form: _Form) -> bytes:
    file = io.BytesIO()
    rate = Fraction(media.frame_rate).limit_denominator(1001)
    with av.open(file, mode="w", format=form.writer, options={"fflags": "+bitexact"}) as container:
        assert isinstance(container, OutputContainer)
        container.metadata["comment"] = COMMENT
        stream = container.add_stream(form.codec, rate=rate, options=dict(form.options))
        assert isinstance(stream, VideoStream)
        stream.height, stream.width = media.frames.shape[1:3]
        stream.pix_fmt = form.pixels
        for place, pixels in enumerate(media.frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), "rgb24")
            frame.pts, frame.time_base = place, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def _sound(media: Sound, form: _Form) -> bytes:
    file = io.BytesIO()
    rate = media.sample_rate
    with av.open(file, mode="w", format=form.writer, options={"fflags": "+bitexact"}) as container:
        assert isinstance(container, OutputContainer)
        container.metadata["comment"] = COMMENT
        stream = container.add_stream(form.codec, rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        frame = av.AudioFrame.from_ndarray(
            media.samples[None].astype(np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = media.sample_rate
        size = stream.codec_context.frame_size or None
        resampler = av.AudioResampler(stream.format.name, "mono", rate, size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()
