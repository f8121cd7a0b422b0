"""Service video_encoder: videos and animated pictures in, codes or features out."""

from __future__ import annotations
