"""Settings of audio_encoder."""

from __future__ import annotations

from pydantic import Field

from anygpt_models.serving.settings import BatchedEncoderSettings


class Settings(BatchedEncoderSettings):
    """What audio_encoder reads from the environment."""

    audio_clips: int = Field(
        default=3, ge=1, le=16, description="Most clips of a long sound; their mean is taken."
    )
