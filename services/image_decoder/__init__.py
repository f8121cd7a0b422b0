"""Service image_decoder: codes, signals or a caption in, pictures out."""

from __future__ import annotations
