"""Settings of the token generator."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from anygpt.settings import ServiceSettings


class LlmSettings(ServiceSettings):
    """What the token generator needs beside what every service needs."""

    cache: Path = Field(default=Path("~/.cache/anygpt"), description="Folder of converted model weights.")
    slots: int = Field(default=16, ge=1, le=256, description="Requests that are generated at once.")
    step_rows: int = Field(
        default=128, ge=1, le=4096, description="Most positions of a step: a prompt's chunk."
    )
    waiting_requests: int = Field(default=256, ge=1, description="Most requests that wait for a slot.")
    waiting_tokens: int = Field(
        default=262_144, ge=1, description="Most prompt positions that wait for a slot."
    )
    cache_tokens: int = Field(
        default=16_384,
        ge=1,
        description="Positions of the cache, shared by all requests; at least one context.",
    )
    dtype: Literal["auto", "int8", "int4", "bf16", "fp32"] = Field(
        default="auto", description="Number format of the weights."
    )
