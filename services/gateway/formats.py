"""File formats that each modality can be delivered in; the first is the default."""

from __future__ import annotations

from collections.abc import Mapping

from anygpt import topology

SOUND = ("wav", "flac", "ogg", "mp3")
FORMATS: Mapping[int, tuple[str, ...]] = {
    topology.IMAGE: ("png", "jpeg", "webp"),
    topology.VIDEO: ("mp4", "webm", "gif"),
    topology.SPEECH: SOUND,
    topology.AUDIO: SOUND,
}
