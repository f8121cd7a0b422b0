"""Settings of the gateway."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from anygpt.settings import ServiceSettings


class UrlSettings(BaseModel):
    """Which URLs of media the gateway fetches for its clients."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origins: tuple[str, ...] = Field(
        default=(), description='Allowed ones, e.g. ["https://media.example.com", "https://*.example.org"].'
    )
    redirects: int = Field(default=3, ge=0, description="How many are followed, each to an allowed origin.")
    seconds: float = Field(
        default=30.0, gt=0, description="Longest time for one file, all redirects together."
    )
    at_once: int = Field(default=8, ge=1, description="How many are fetched at once; more wait.")


class Settings(ServiceSettings):
    """What the gateway needs beside what every service needs."""

    stream_records: int = Field(default=4096, ge=64, description="Records a slow client may fall behind.")
    encode_cache_s: float = Field(default=24 * 3600, description="How long encodings of media are kept.")
    retention_s: float = Field(default=6 * 3600, description="How long a request can be resumed.")
    url_s: int = Field(default=900, ge=1, le=7 * 24 * 3600, description="Life of presigned URLs.")
    answer_tokens: int = Field(
        default=512, ge=16, description="Tokens of the context kept free for the answer."
    )
    media_s: float = Field(
        default=7 * 24 * 3600,
        ge=3600,
        description="How long media is kept that no conversation and no job holds.",
    )
    jobs_s: float = Field(default=30 * 24 * 3600, ge=0, description="How long an ended job is kept.")
    sweep_s: float = Field(default=3600, ge=1, description="Time between two sweeps of the store.")
    running_requests: int = Field(
        default=256, ge=1, description="Requests in flight in the whole installation; above: SYSTEM_FULL."
    )
    running_tokens: int = Field(
        default=262_144,
        ge=1,
        description="Tokens of prompts and answers in flight in the whole installation.",
    )
    stage_backlog: int = Field(
        default=16, ge=0, description="Requests that may wait for a stage, for each it works on at once."
    )
    tenant_part: float = Field(
        default=0.75,
        gt=0,
        lt=1,
        description="Most of the room that one tenant alone may take; above: TENANT_FULL.",
    )
    broker: str = Field(default="", description="Celery broker of jobs; empty: SQLite under the data folder.")
    urls: UrlSettings = UrlSettings()
