"""Service speech_encoder: spoken words in, codes or features out."""

from __future__ import annotations
