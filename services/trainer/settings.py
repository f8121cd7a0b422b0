"""Settings of the trainer."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from anygpt.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the trainer needs beside what every service needs."""

    broker: str = Field(default="", description="Celery broker; empty: SQLite under the data folder.")
    cache: Path = Field(
        default=Path("~/.cache/anygpt"), description="Folder of data sets, runs and checkpoints."
    )
