"""Reads what media is, from its header alone, in a process that may die of it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from anygpt.sandbox import Sandbox
from anygpt.settings import LimitSettings
from anygpt.topology import Modality
from anygpt.v1 import types_pb2
from anygpt_models.input import MediaReader, Source


class FactsReader:
    """Probes media off the event loop."""

    def __init__(self, sandbox: Sandbox, limits: LimitSettings) -> None:
        self._sandbox = sandbox
        self._reader = MediaReader(sandbox)
        self._limits = limits

    async def open(self) -> None:
        """Begin to load what media are read with."""
        await asyncio.to_thread(self._reader.warm)

    async def read(
        self, data: bytes | Path, modality: Modality, media_type: str, field: str
    ) -> types_pb2.MediaRef:
        """Raises InvalidInput or TooLarge with the reason, e.g. MEDIA_TYPE_MISMATCH."""
        source = Source(data, self._limits, field)
        facts = await self._sandbox.aside(partial(self._reader.facts, source, media_type, modality))
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
