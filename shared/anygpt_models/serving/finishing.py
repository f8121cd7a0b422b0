"""From what a decoder made to the file that was asked for: post-processing, container, facts."""

from __future__ import annotations

import hashlib
import time

from anygpt.errors import Precondition
from anygpt.pack import OutputEntry
from anygpt.topology import Modality
from anygpt.v1 import anygpt_service_pb2, stages_pb2, types_pb2
from anygpt_models.output import Clip, Media, Picture, Sound, apply, encode, fitted, plan
from anygpt_models.serving.options import Diffusion, check_options


class Finisher:
    """What one request asks of the finished media; built, and so checked, before any work."""

    def __init__(self, modality: Modality, options: types_pb2.OutputOptions, entry: OutputEntry) -> None:
        if not entry.formats:
            raise Precondition("the pack names no output format", reason="PACK_MALFORMED", field="formats")
        check_options(options, modality, entry)
        self._modality = modality
        self._format = options.format or entry.formats[0]
        self._duration_s = options.duration_s
        self._steps = plan(modality, options)

    def finish(self, media: Media) -> stages_pb2.DecodedMedia:
        """Cut, post-process and encode, and note how long that took; blocks."""
        began = time.perf_counter()
        media, reports = apply(self._steps, self._cut(media))
        media, more = fitted(media, self._format)
        data, media_type = encode(media, self._format)
        reference = _facts(media)
        reference.media_type = media_type
        reference.modality = self._modality
        reference.size_bytes = len(data)
        reference.sha256 = hashlib.sha256(data).hexdigest()
        ready = anygpt_service_pb2.MediaReady(media=reference, steps=[*reports, *more])
        decode_ms = round(1000 * (time.perf_counter() - began))
        return stages_pb2.DecodedMedia(data=data, ready=ready, decode_ms=decode_ms)

    def _cut(self, media: Media) -> Media:
        if not self._duration_s or isinstance(media, Picture):
            return media
        if isinstance(media, Clip):
            return Clip(media.frames[: max(1, round(self._duration_s * media.frame_rate))], media.frame_rate)
        return Sound(media.samples[: round(self._duration_s * media.sample_rate)], media.sample_rate)


def with_origin(media: stages_pb2.DecodedMedia, seed: int, diffusion: Diffusion | None = None) -> None:
    """Write down what made the media, so that it can be made again."""
    media.ready.seed = seed
    if diffusion is not None:
        media.ready.diffusion_steps = diffusion.steps
        media.ready.guidance = diffusion.guidance
        media.ready.scheduler = diffusion.scheduler


def _facts(media: Media) -> types_pb2.MediaRef:
    if isinstance(media, Picture):
        height, width = media.pixels.shape[:2]
        return types_pb2.MediaRef(width=width, height=height)
    if isinstance(media, Clip):
        count, height, width = media.frames.shape[:3]
        duration_ms = round(1000 * count / media.frame_rate)
        return types_pb2.MediaRef(
            width=width, height=height, frame_rate=media.frame_rate, duration_ms=duration_ms
        )
    duration_ms = round(1000 * len(media.samples) / media.sample_rate)
    return types_pb2.MediaRef(sample_rate=media.sample_rate, duration_ms=duration_ms)
