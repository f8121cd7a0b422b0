"""Service audio_decoder: codes, signals or a caption in, music and sounds out."""

from __future__ import annotations
