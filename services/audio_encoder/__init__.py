"""Service audio_encoder: music and sounds in, codes or features out."""

from __future__ import annotations
