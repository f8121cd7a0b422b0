"""Settings of image_encoder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anygpt_models.serving.settings import BatchedEncoderSettings


class Settings(BatchedEncoderSettings):
    """What image_encoder reads from the environment."""

    image_fit: Literal["crop", "stretch", "pad"] = Field(
        default="crop", description="How a picture becomes a square: NExT-GPT crops, AnyGPT stretches."
    )
