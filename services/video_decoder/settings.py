"""Settings of video_decoder."""

from __future__ import annotations

from anygpt.settings import ServiceSettings


class Settings(ServiceSettings):
    """Nothing of its own: what a video should be like, each request says."""
