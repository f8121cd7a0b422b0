"""What a media file is, by its header alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import ExifTags, Image

from anygpt.errors import InvalidInput
from anygpt.topology import AUDIO, IMAGE, MODALITY_NAMES, SPEECH, VIDEO, Modality
from anygpt_models.input import refusal
from anygpt_models.input.animation import animation_of
from anygpt_models.input.container import first_sound, first_video, opened_container, stream_seconds
from anygpt_models.input.cut import is_cut
from anygpt_models.input.picture import is_picture, opened_picture
from anygpt_models.input.source import Source
from anygpt_models.input.video import counted


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What the bytes say of themselves; 0 for what does not apply or is not known."""

    media_type: str
    modalities: tuple[Modality, ...]
    """What it can be taken for; the first where the request does not say. Speech and audio sound alike."""
    width: int = 0
    height: int = 0
    duration_ms: int = 0
    sample_rate: int = 0
    frame_rate: float = 0.0
    channels: int = 0


_CONTAINER_TYPES: Final = {
    "asf": "x-ms-asf", "au": "basic", "avi": "x-msvideo", "caf": "x-caf", "flv": "x-flv",
    "matroska,webm": "x-matroska", "mov,mp4,m4a,3gp,3g2,mj2": "mp4", "mp3": "mpeg",
    "mpegts": "mp2t", "w64": "wav",
}  # fmt: skip
_ALIASES: Final = {
    "jpg": "jpeg", "mpo": "jpeg", "pjpeg": "jpeg", "apng": "png", "x-png": "png", "x-ms-bmp": "bmp",
    "vnd.microsoft.icon": "x-icon",
    "mp3": "mpeg", "x-mp3": "mpeg", "wave": "wav", "x-wav": "wav", "vnd.wave": "wav", "x-pn-wav": "wav",
    "x-flac": "flac", "opus": "ogg", "x-m4a": "mp4", "m4a": "mp4", "x-m4v": "mp4", "3gpp": "mp4",
    "3gpp2": "mp4", "quicktime": "mp4", "aacp": "aac", "x-aac": "aac", "webm": "x-matroska", "matroska": "x-matroska",
    "avi": "x-msvideo", "x-aiff": "aiff", "x-ms-wmv": "x-ms-asf", "x-ms-wma": "x-ms-asf", "mpg": "mpeg",
}  # fmt: skip
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""
_NO_CLAIM: Final = frozenset({"", "application/octet-stream", "binary/octet-stream"})


def probe(source: Source) -> MediaFacts:
    """Read a file's headers. Raises InvalidInput with one of the reasons in `refusal`."""
    try:
        facts = _facts(source)
    except InvalidInput as error:
        if error.reason in (refusal.UNREADABLE, refusal.UNSUPPORTED) and is_cut(source):
            raise refusal.truncated(source.field) from error
        raise
    if is_cut(source):
        raise refusal.truncated(source.field)
    return facts


def probe_claimed(source: Source, media_type: str, modality: Modality) -> MediaFacts:
    """Probe a file whose type the request claims. Raises MEDIA_TYPE_MISMATCH when the bytes contradict."""
    claim = _family(media_type)
    try:
        facts = probe(source)
    except InvalidInput as error:
        if error.reason == refusal.UNREADABLE and claim and not is_picture(source):
            raise refusal.type_mismatch("the bytes are not what is claimed", source.field) from error
        raise
    if claim and claim != _family(facts.media_type):
        raise refusal.type_mismatch(f"the bytes are {facts.media_type}, not what is claimed", source.field)
    if modality and modality not in facts.modalities:
        name = MODALITY_NAMES.get(modality, "of that modality")
        raise refusal.type_mismatch(f"{facts.media_type} is not {name}", source.field)
    return facts


def _facts(source: Source) -> MediaFacts:
    if is_picture(source):
        return _picture_facts(source)
    with opened_container(source) as container:
        return _container_facts(container, source)


def _picture_facts(source: Source) -> MediaFacts:
    with opened_picture(source) as image:
        width, height = image.size
        if _is_lying(image):
            width, height = height, width
        kind = image.format or ""
        facts = MediaFacts(Image.MIME.get(kind, f"image/x-{kind.lower()}"), (IMAGE,), width, height)
    animation = animation_of(source)
    if animation is None:
        return facts
    if animation.is_cut:
        raise refusal.truncated(source.field)
    seconds, frames = sum(animation.durations), len(animation.durations)
    source.check_duration(seconds)
    source.check_animation(width, height, frames)
    return replace(
        facts, modalities=(VIDEO, IMAGE), duration_ms=round(seconds * 1000), frame_rate=frames / seconds
    )


def _is_lying(image: Image.Image) -> bool:
    """Whether EXIF swaps the sides; a PNG that tells so after its pixels is not asked, for they would be decoded."""
    if image.format == "PNG" and "exif" not in image.info:
        return False
    return image.getexif().get(ExifTags.Base.Orientation, 1) in _SIDEWAYS


def _container_facts(container: InputContainer, source: Source) -> MediaFacts:
    video, sound = first_video(container, source), first_sound(container, source)
    longest = video or sound
    if longest is None:
        raise refusal.unsupported("the media have neither pictures nor sound", source.field)
    seconds = max(stream_seconds(container, stream) for stream in (video, sound) if stream is not None)
    source.check_duration(seconds)
    facts = MediaFacts(_media_type(container, source, is_video=video is not None), ())
    if sound is not None:
        facts = replace(facts, modalities=(SPEECH, AUDIO), sample_rate=sound.sample_rate)
        facts = replace(facts, channels=sound.channels)
    if video is not None:
        facts = _with_pictures(facts, container, video)
    seconds = seconds or counted(container, longest, source).duration_s
    return replace(facts, duration_ms=round(seconds * 1000))


def _with_pictures(facts: MediaFacts, container: InputContainer, stream: VideoStream) -> MediaFacts:
    """The size as it is shown: some files turn their pictures, which only the first frame tells."""
    width, height = stream.codec_context.width, stream.codec_context.height
    stream.codec_context.thread_count = 1
    frame = next(container.decode(stream), None)
    if frame is not None and round(frame.rotation / 90) % 2:
        width, height = height, width
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    return replace(facts, modalities=(VIDEO, *facts.modalities), width=width, height=height, frame_rate=rate)


def _media_type(container: InputContainer, source: Source, *, is_video: bool) -> str:
    name, top = container.format.name, "video" if is_video else "audio"
    head = source.head()
    if name == "matroska,webm" and b"webm" in head:
        return f"{top}/webm"
    if name.startswith("mov") and head[8:12] == b"qt  ":
        return f"{top}/quicktime"
    return f"{top}/{_CONTAINER_TYPES.get(name, name.split(',')[0])}"


def _family(media_type: str) -> str:
    """What a media type boils down to: aliases, and sound or video in one container, count as the same."""
    essence = media_type.partition(";")[0].strip().lower()
    if essence in _NO_CLAIM or "/" not in essence:
        return ""
    top, sub = essence.split("/", 1)
    return f"{'image' if top == 'image' else 'stream'}/{_ALIASES.get(sub, sub)}"
