"""What the formats of files can hold, where that is less than what can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RATES: Final[Mapping[str, tuple[int, ...]]] = {
    "ogg": (8_000, 12_000, 16_000, 24_000, 48_000),
    "mp3": (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
}
"""Sample rates, hertz, of Opus and of MPEG audio; other formats have any."""

FASTEST_GIF: Final = 50.0
"""Frames a second: players show a frame of less than two hundredths of a second for ten."""
