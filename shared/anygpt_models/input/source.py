"""The bytes of one media file, and what they may ask for."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from anygpt.settings import LimitSettings
from anygpt_models.input import refusal


@dataclass(frozen=True, slots=True)
class Source:
    """One media file in memory or on disk, its limits, and the request's field that names it."""

    data: bytes | Path
    limits: LimitSettings = field(default_factory=LimitSettings)
    field: str = refusal.FIELD

    @property
    def size_bytes(self) -> int:
        """How long the file is."""
        return self.data.stat().st_size if isinstance(self.data, Path) else len(self.data)

    def opened(self) -> BinaryIO:
        """The bytes from their start. Raises MEDIA_EMPTY and MEDIA_TOO_LARGE."""
        size = self.size_bytes
        if not size:
            raise refusal.empty(self.field)
        if size > self.limits.media_bytes:
            raise refusal.too_large(f"{size} bytes exceed {self.limits.media_bytes}", self.field)
        return self.data.open("rb") if isinstance(self.data, Path) else io.BytesIO(self.data)

    def head(self, length: int = 64) -> bytes:
        """The first bytes of the file."""
        with self.opened() as file:
            return file.read(length)

    def check_pixels(self, width: int, height: int) -> None:
        """Raise MEDIA_TOO_LARGE for a picture of more pixels than the limits allow."""
        if width * height > self.limits.image_pixels:
            raise refusal.too_large(f"{width} x {height} pixels are too many", self.field)

    def check_animation(self, width: int, height: int, frames: int) -> None:
        """Raise MEDIA_TOO_LARGE for more pixels in all frames than the limits allow: each builds on those before."""
        if width * height * frames > self.limits.animation_pixels:
            raise refusal.too_large(f"{frames} frames of {width} x {height} pixels are too many", self.field)

    def check_duration(self, seconds: float) -> None:
        """Raise MEDIA_TOO_LONG for media that last longer than the limits allow."""
        if seconds * 1000 > self.limits.media_duration_ms:
            raise refusal.too_long(self.limits.media_duration_ms, self.field)
