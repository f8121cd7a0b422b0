"""Settings that several services of one kind share."""

from __future__ import annotations

from pydantic import Field

from anygpt.settings import ServiceSettings


class BatchedEncoderSettings(ServiceSettings):
    """An encoder that takes several media at once."""

    encoder_batch: int = Field(default=8, ge=1, description="Most media in one pass of the encoder.")
    encoder_wait_ms: float = Field(default=1.0, ge=0, description="How long a first one waits for company.")
