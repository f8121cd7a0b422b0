"""Service speech_decoder: codes, signals or a caption in, spoken words out."""

from __future__ import annotations
