"""Settings of the trainer."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from anygpt.errors import InvalidInput
from anygpt.settings import ServiceSettings

VISIBLE = "CUDA_VISIBLE_DEVICES"


class Settings(ServiceSettings):
    """What the trainer needs beside what every service needs."""

    broker: str = Field(default="", description="Celery broker; empty: SQLite under the data folder.")
    cache: Path = Field(
        default=Path("~/.cache/anygpt"), description="Folder of data sets, runs and checkpoints."
    )

    @property
    def place(self) -> tuple[str, int]:
        """Kind and index of the device, which is the first of its kind where none is named."""
        kind, _, index = self.device.partition(":")
        return kind, int(index or 0)

    def environment(self) -> dict[str, str]:
        """The environment of a process that sees no accelerator but the one of the device's index, if it has one.

        Raises InvalidInput for an index that this process itself does not see.
        """
        if ":" not in self.device:
            return {**os.environ}
        index = self.place[1]
        seen = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
        if seen and index >= len(seen):
            raise InvalidInput(
                f"there is no device {self.device!r} here", reason="DEVICE_UNKNOWN", field="device"
            )
        return {**os.environ, VISIBLE: seen[index] if seen else f"{index}"}
