"""Settings of the batch worker."""

from __future__ import annotations

from pydantic import Field

from anygpt.settings import ClientSettings, ServiceSettings


class Settings(ServiceSettings):
    """What the batch worker needs beside what every service needs."""

    gateway: str = Field(default="", description="host:port of the gateway; empty: the one in this process.")
    client: ClientSettings = Field(
        default=ClientSettings(),
        description="The worker's key to the gateway, of tenant `*`, and what it trusts.",
    )
    broker: str = Field(default="", description="Celery broker of jobs; empty: SQLite under the data folder.")
    job_lines: int = Field(default=8, ge=1, le=256, description="Lines of a job under way at once.")
