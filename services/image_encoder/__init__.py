"""Service image_encoder: still pictures in, codes or features out."""

from __future__ import annotations
