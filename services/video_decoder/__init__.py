"""Service video_decoder: codes, signals or a caption in, videos out."""

from __future__ import annotations
