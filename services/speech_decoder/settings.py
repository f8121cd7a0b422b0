"""Settings of speech_decoder."""

from __future__ import annotations

from anygpt.settings import ServiceSettings


class Settings(ServiceSettings):
    """Nothing of its own: the voice comes with each request, the voices with the pack."""
