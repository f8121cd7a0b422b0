"""Settings of speech_encoder."""

from __future__ import annotations

from anygpt.settings import ServiceSettings


class Settings(ServiceSettings):
    """Nothing of its own: utterances differ in length, so each is heard alone."""
