"""What this installation can do, as Describe tells it."""

from __future__ import annotations

from importlib.metadata import version

from anygpt.pack import Pack
from anygpt.settings import LimitSettings
from anygpt.topology import AUDIO, IMAGE, MODALITY_NAMES, SPEECH, VIDEO
from anygpt.v1 import anygpt_service_pb2

SOUND_TYPES = ("audio/wav", "audio/flac", "audio/mpeg", "audio/ogg", "audio/mp4", "audio/aac")
MEDIA_TYPES = {
    IMAGE: ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"),
    VIDEO: ("video/mp4", "video/x-matroska", "video/x-msvideo", "image/gif", "image/webp"),
    SPEECH: SOUND_TYPES,
    AUDIO: SOUND_TYPES,
}


class Description:
    """The answer to Describe, made once."""

    def __init__(self, pack: Pack, limits: LimitSettings) -> None:
        self.limits = anygpt_service_pb2.Limits(
            inline_bytes=limits.inline_bytes,
            media_bytes=limits.media_bytes,
            parts=limits.parts,
            context_tokens=pack.manifest.base_model.context,
            image_pixels=limits.image_pixels,
            media_duration_ms=limits.media_duration_ms,
            deadline_ms=limits.deadline_ms,
        )
        self.response = anygpt_service_pb2.DescribeResponse(
            pack=pack.manifest.name,
            pack_digest=pack.digest,
            limits=self.limits,
            voices=pack.manifest.voices,
            version=version("anygpt-service"),
        )
        for modality in MODALITY_NAMES:
            entry, output = pack.inputs.get(modality), pack.outputs.get(modality)
            self.response.modalities.add(
                modality=modality,
                input=entry is not None,
                output=output is not None,
                input_path=entry.path if entry else "",
                output_path=output.path if output else "",
                input_media_types=MEDIA_TYPES.get(modality, ()),
                output_formats=output.formats if output else (),
            )
        for source in pack.inputs:
            for target in pack.outputs:
                self.response.pairs.add(source=source, target=target)
