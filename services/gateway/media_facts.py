"""Reads what media is, from its header alone, off the event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

from anygpt.settings import LimitSettings
from anygpt.topology import Modality
from anygpt.v1 import types_pb2
from anygpt_models.input import Source, probe_claimed


async def read_facts(
    data: bytes | Path, modality: Modality, limits: LimitSettings, media_type: str, field: str
) -> types_pb2.MediaRef:
    """Probe media. Raises InvalidInput or TooLarge with the reason, e.g. MEDIA_TYPE_MISMATCH."""
    source = Source(data, limits, field)
    facts = await asyncio.to_thread(probe_claimed, source, media_type, modality)
    return types_pb2.MediaRef(
        media_type=facts.media_type,
        size_bytes=source.size_bytes,
        modality=modality or facts.modalities[0],
        width=facts.width,
        height=facts.height,
        duration_ms=facts.duration_ms,
        sample_rate=facts.sample_rate,
        frame_rate=facts.frame_rate,
    )
