"""Where the speech recipes read and write, and how long they learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DATA = Path.home() / ".cache" / "anygpt" / "data" / "speech"
RUNS = Path.home() / ".cache" / "anygpt" / "runs"
PACK = Path("shared/packs/mini")
VOICES = ("hibari", "joe")
JOE_SENTENCES = 2000
HELD_OUT_SPOKEN = 100


@dataclass(frozen=True)
class Config:
    """What every stage may be told."""

    minutes: float = 10.0
    resume: bool = False
    data: Path = DATA
    runs: Path = RUNS
    pack: Path = PACK
