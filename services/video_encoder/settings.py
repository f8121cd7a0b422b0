"""Settings of video_encoder."""

from __future__ import annotations

from pydantic import Field

from anygpt_models.serving.settings import BatchedEncoderSettings


class Settings(BatchedEncoderSettings):
    """What video_encoder reads from the environment."""

    encoder_batch: int = Field(
        default=2, ge=1, description="Most videos in one pass: each is up to five clips."
    )
    video_clips: int = Field(
        default=5, ge=1, le=16, description="Most clips of a long video; their mean is taken."
    )
